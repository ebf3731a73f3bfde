"""`greenroom demo`: the shipped workflow `digest` on real texts, with what it shows and says at the end."""

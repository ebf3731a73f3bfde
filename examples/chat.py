"""A chat session of several turns: messages are added to what was said before, and kept between turns.

Without configuration the model is the small local one.

Run it with `python examples/chat.py`.
"""

from typing import Annotated

from pydantic import BaseModel

from runtime import END, START, Graph, Message, Runtime, Usage, add_messages


class Chat(BaseModel):
    messages: Annotated[list[Message], add_messages] = []


g = Graph("chat", state=Chat)
g.llm("reply", messages="messages", system="You answer in one short sentence.", into="messages", max_tokens=40)
g.edge(START, "reply")
g.edge("reply", END)


def main(rt: Runtime) -> None:
    rt.deploy(g)
    session_id = rt.session("chat", user_id="ada").id
    used = Usage()
    for text in ("Hello!", "What is a greenroom?", "Thank you."):
        session = rt.session(id=session_id)  # found again, as it would be tomorrow and by another driver
        result = session.run({"messages": [Message(role="user", content=text)]})
        used += result.usage
    for message in result.state.messages:
        print(f"{message.role}: {message.content}")
    print(f"{used.calls} calls, {used.total_tokens} tokens")


if __name__ == "__main__":
    with Runtime() as runtime:
        main(runtime)

"""The nodes of a graph: what each kind is configured with. All of it is data that YAML and JSON can hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.policies import JoinPolicy, OnBranchError, RetryPolicy
from graphs.workflow.json_value import Json


class NodeType(StrEnum):
    """Kinds of nodes. The first four are run by executors, the others by the thread itself."""

    FUNCTION = "function"
    LLM = "llm"
    TOOL = "tool"
    CALL = "call"
    FORK = "fork"
    MAP = "map"
    SUBWORKFLOW = "subworkflow"
    HUMAN = "human"
    WAIT = "wait"

    @property
    def executable(self) -> bool:
        """Whether an executor runs it."""
        return self in (NodeType.FUNCTION, NodeType.LLM, NodeType.TOOL, NodeType.CALL)

    @property
    def executor(self) -> str:
        """Kind of the executors that run it, if one does."""
        return str(NodeType.TOOL if self is NodeType.CALL else self)


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FunctionConfig(_Config):
    """A Python function that gets the state and returns the channels it writes."""

    node_type: Literal["function"] = "function"
    function: str
    """`module:qualified.name`."""
    argument: str | None = None
    """Channel passed as the only argument in place of the state. None: the function gets the state."""
    into: str | None = None
    """Channel the returned value is written to. None: the function returns a mapping of the channels it writes."""


class LlmConfig(_Config):
    """A call of a language model."""

    node_type: Literal["llm"] = "llm"
    prompt: str | None = None
    """Template over the state, such as `Answer: {text}`; sent as one user message after `messages`."""
    messages: str | None = None
    """Channel that holds the conversation to send."""
    system: str | None = None
    """Template of the system message."""
    model: str = "default"
    """Name of a configured model."""
    fallbacks: tuple[str, ...] = ()
    """Models asked one after the other when it fails, instead of those of its configuration."""
    into: str | None = None
    """Channel the answer is written to: its text, or a message where the channel holds messages; with `output` its
    value. None: `output` has fields, and each is written to the channel of its name."""
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """What the model may ask for: names of registered tools, or `module:qualname` of Python functions. Its calls are
    in the message it answers with; running them is the business of a map over them."""
    max_rounds: int | None = Field(default=None, ge=0)
    """Answers that ask for tools, after the last user message; then the model has to do without. None: no limit."""
    output: Json = None
    """Type of the answer, as a channel of a state has it; the model is given its JSON schema. None: text."""
    output_type: str | None = None
    """`module:name` of the Python type that the answer is checked with where it is at hand."""
    repairs: int = Field(default=2, ge=0, le=10)
    """Times the model is told what is wrong with an answer that does not fit `output`, and asked again."""


class ToolCallConfig(_Config):
    """A call of a tool."""

    node_type: Literal["tool"] = "tool"
    tool: str
    """Name of a registered tool, or `module:qualname` of a Python function."""
    arguments: dict[str, Json] = {}
    """Argument name -> value; strings are templates over the state. A lone `{channel}` keeps the channel's type."""
    into: str | None = None
    """Channel the output is written to; None drops it."""
    requires_approval: bool | None = None
    """Whether a person is asked before the tool is called. None: as the tool says."""


class CallConfig(_Config):
    """The call of a tool that a model asks for.

    A map over the tool calls of a message runs it for each; the result is the message that answers the call.
    """

    node_type: Literal["call"] = "call"
    tools: tuple[str, ...]
    """Tools that may be called, as `LlmConfig.tools` names them."""
    on_tool_error: Literal["tell", "fail"] = "tell"
    """When arguments do not fit or the tool fails: the model is told in place of a result, or the node fails."""
    requires_approval: bool = False
    """Whether a person is asked before each call."""
    approve: tuple[str, ...] = ()
    """What models call those of the tools that a person has to allow each time; deploying adds those that say so."""


class ForkConfig(_Config):
    """A node that does nothing itself; its policy says when the branches behind it are joined."""

    node_type: Literal["fork"] = "fork"
    policy: JoinPolicy = JoinPolicy()
    choice: bool = False
    """Whether conditions of its edges are meant to exclude each other, as those of other nodes are."""


class MapConfig(_Config):
    """Runs a node or a workflow for each item of a channel, as parallel threads."""

    node_type: Literal["map"] = "map"
    over: str
    """Channel whose items are mapped, or the path of a list in one, such as `messages[-1].tool_calls`."""
    node: str | None = None
    """Node run for each item. A function is called with the item alone and returns the result; templates of an LLM or
    tool node see the state and `{item}`, and its answer is the result."""
    workflow: str | None = None
    """Workflow (`id` or `id@version`) run for each item, each in a thread with a state of its own."""
    item: str | None = None
    """Channel that receives the item. None: the item is a mapping of the workflow's channels."""
    result: str | None = None
    """Channel whose final value is the item's result. None: the workflow's whole final state as a mapping."""
    into: str
    """List channel that receives the results, in item order."""
    max_concurrency: int = Field(default=16, ge=1, le=10_000)
    on_branch_error: OnBranchError = OnBranchError.FAIL


class SubworkflowConfig(_Config):
    """Runs another workflow as a sequential thread with a state of its own."""

    node_type: Literal["subworkflow"] = "subworkflow"
    workflow: str
    """`id` or `id@version`."""
    input: dict[str, str] | None = None
    """Channel of the other workflow -> channel here. None: the channels that both have."""
    output: dict[str, str] | None = None
    """Channel here -> channel of the other workflow. None: the channels that both have."""
    delta: str | None = None
    """Channel that holds the whole input instead, as an encoded delta of the other workflow. Queues have such."""


class HumanConfig(_Config):
    """A question to a person: the thread is paused until it is answered."""

    node_type: Literal["human"] = "human"
    question: str
    """Template over the state."""
    answer: Json = None
    """Type of the answer, as a channel of a state has it. None: that of the channel `into`."""
    answer_type: str | None = None
    """`module:name` of the Python type that the answer is checked with where it is at hand."""
    into: str | None = None
    """Channel the answer is written to. None: the answer is a mapping of channels to values."""


class WaitConfig(_Config):
    """A durable timer."""

    node_type: Literal["wait"] = "wait"
    seconds: Annotated[float, Field(ge=0)] | str
    """How long, or the channel that says so."""


NodeConfig = Annotated[
    FunctionConfig
    | LlmConfig
    | ToolCallConfig
    | CallConfig
    | ForkConfig
    | MapConfig
    | SubworkflowConfig
    | HumanConfig
    | WaitConfig,
    Field(discriminator="node_type"),
]


class Node(BaseModel):
    """One node of a graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    config: NodeConfig
    position: tuple[float, float] | None = None
    """Where a drawing puts it."""
    reads: tuple[str, ...] | None = None
    """Channels it gets; None means all."""
    writes: tuple[str, ...] | None = None
    """Channels it may write; None means any."""
    retry: RetryPolicy = RetryPolicy()
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds one attempt may take."""
    at_most_once: bool = False
    """Journalled before it is called, and never called again: what a crash interrupts has failed."""

    @property
    def node_type(self) -> NodeType:
        """Its kind."""
        return NodeType(self.config.node_type)

"""What a stage's process says, for the display and for the log of its task."""

from collections.abc import Callable
from dataclasses import dataclass

from flows.display import Display
from flows.process.child import Message

Log = Callable[[str], None]


@dataclass
class StageListener:
    """Passes on what the process of `node` says."""

    node: str
    display: Display
    log: Log
    resumes: bool = False
    waited: float = 0.0  # seconds for a device
    stoppable: bool = False
    """Whether a stop makes it write a checkpoint."""
    tick: Callable[[], None] = lambda: None
    """Called as the work goes on."""

    def begin(self) -> None:
        self.stoppable = False  # a try before this one may have been killed while it was
        self.display.start(self.node, "resumed" if self.resumes else "running")

    def message(self, message: Message) -> None:
        if message[0] == "progress":
            self.display.progress(self.node, *message[1:])
            self.tick()
        elif message[0] == "queued":
            self.display.start(self.node, "queued")
        elif message[0] == "working":
            self.waited += message[1]
            self.begin()
        elif message[0] == "log":
            _, level, text = message
            self.log(text)
            if level == "warning":
                self.display.warn(self.node, text)
        elif message[0] == "stoppable":
            self.stoppable = message[1]
        elif message[0] == "stopping" and self.stoppable:
            self.display.note(
                f"stopping: {self.node} writes a checkpoint (up to {message[1]:g} s); "
                "a second signal ends it at once"
            )

    def note(self, text: str) -> None:
        """What people should see at once, and find in the log."""
        self.log(text)
        self.display.note(f"{self.node}: {text}")

    def line(self, text: str) -> None:
        self.display.line(self.node, text)

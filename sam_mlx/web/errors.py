"""What the server answers when it does not do what is asked."""


class Refusal(Exception):
    """One sentence for the client, with HTTP's number."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Replaced(Refusal):
    def __init__(self) -> None:
        super().__init__(409, "replaced by a newer request")


class Stopped(Exception):
    """Raised within work in the background that nobody waits for any more."""

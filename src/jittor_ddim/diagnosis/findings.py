"""What a diagnosis finds: the name of a cause and the numbers that show it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jittor_ddim.pages import words

#: How much a finding explains, the most first.
#:
#: ``ruins``: by itself it makes samples worthless; ``harms``: they are worse than they could be;
#: ``costs``: time, or something that one may miss later.
GRADES = ("ruins", "harms", "costs")
Grade = Literal["ruins", "harms", "costs"]
#: A key of a setting, a count, a share, a loss: what the texts show.
Value = float | int | str


class Words(words.Words):
    """The texts of the diagnosis in one language."""

    folder = Path(__file__).parent / "languages"


@dataclass(frozen=True)
class Finding:
    """A cause that numbers confirm.

    :ivar cause: its name, a row of :data:`jittor_ddim.diagnosis.table.CAUSES`
    :ivar values: the numbers that were seen, and those that the remedy names
    """

    cause: str
    grade: Grade
    values: dict[str, Value] = field(default_factory=dict)

    def explain(self, language: str = "en") -> dict[str, str]:
        """Return ``what`` it is, what was ``seen``, ``why`` it matters and the ``remedy``.

        :param language: ``en`` or ``zh``
        :raises UserError: for another language
        """
        text = Words(language)
        return {
            part: text(f"causes.{self.cause}.{part}", **self.values)
            for part in ("what", "seen", "why", "remedy")
        }

    def __str__(self) -> str:
        """Return the whole of it in English, one line a part."""
        return "\n".join(self.explain().values())

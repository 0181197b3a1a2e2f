"""CONTRACT: failures a person can act on. Standard library only.

Every expected failure is a class here with a stable code, one sentence for the user, a
hint about what to do and whether trying again can help. Anything else is a defect and is
shown as "unexpected" with its traceback kept in the log.
"""

from __future__ import annotations

# Exit codes of `python -m training`, read by the supervisor.
EXIT_SUCCEEDED = 0
EXIT_UNEXPECTED = 1
EXIT_FAILED = 2
EXIT_STOPPED = 3


class TrainingError(Exception):
    """An expected failure.

    `sentence` says what was wrong and where; `hint` says what to do about it.
    """

    code = "failed"
    hint = ""
    retryable = False

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        if hint is not None:
            self.hint = hint

    def as_dict(self) -> dict[str, object]:
        """The failure as it stands in the event file and on the job's row."""
        return {
            "code": self.code,
            "sentence": self.sentence,
            "hint": self.hint,
            "retryable": self.retryable,
        }


class SpecInvalid(TrainingError):
    """A job asks for what cannot be; `field` names where ("stage.setting")."""

    code = "spec_invalid"

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class InputMissing(TrainingError):
    """A file the job was given is not there or has other contents."""

    code = "input_missing"
    hint = "Check that the dataset and the base model still exist, then launch again."


class MaterialMissing(TrainingError):
    """A method was chosen that needs data or a model that the job does not have."""

    code = "material_missing"
    hint = "Add what is missing, or choose another method."


class TooLittleText(TrainingError):
    """Not enough text to learn from and to hold some out."""

    code = "too_little_text"
    hint = "Add more text in the language: at least 20,000 characters."


class BaseUnsuitable(TrainingError):
    """The base model cannot be used: format, family, tokenizer or vocabulary."""

    code = "base_unsuitable"
    hint = "Choose another base model."


class ScriptUnreadable(TrainingError):
    """The base has no byte fallback and cannot write the script of the text."""

    code = "script_unreadable"
    hint = (
        "Choose a base model with byte fallback or a byte-level tokenizer, or let the "
        "text be written in Latin letters."
    )


class TokenizerMismatch(TrainingError):
    """Tokenizer and weights do not belong together."""

    code = "tokenizer_mismatch"


class OutOfMemory(TrainingError):
    """The device ran out of memory."""

    code = "out_of_memory"
    hint = "Choose a smaller batch or shorter blocks in the advanced settings."


class DiskFull(TrainingError):
    """Not enough free disk."""

    code = "disk_full"
    hint = "Free some disk space, then retry: the job goes on from its checkpoint."
    retryable = True


class TranslatorUnavailable(TrainingError):
    """The service that translates or invents is not named, not reachable or refuses to
    answer."""

    code = "translator_unavailable"
    hint = (
        "The operator names the service with MOTHERTONGUE_TRANSLATOR_URL on the worker. "
        "What it has written so far is kept."
    )
    retryable = True


class ProcessDied(TrainingError):
    """One of several processes that compute together ended; the others cannot go on."""

    code = "process_died"
    hint = (
        "Often the machine is short of memory. Trying again goes on from the last "
        "checkpoint; with device.processes = 1 a single process does all the work."
    )
    retryable = True


class Diverged(TrainingError):
    """The loss became infinite or not a number."""

    code = "diverged"
    hint = "Launch again with a lower learning rate."


class ReloadDiffers(TrainingError):
    """A saved model, read back from disk, gives other logits."""

    code = "reload_differs"


class Stopped(Exception):
    """Not a failure: a stop was asked for and the state is on disk."""

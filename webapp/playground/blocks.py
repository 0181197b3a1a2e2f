"""The chat panel: a model picker, base beside adapted, sampling, several turns.

Gradio holds no model: it streams from the chat runtime (webapp/playground/runtime.py).
Text is shown as text, never as Markdown or HTML, and takes its direction from itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import gradio as gr
from django.utils.translation import gettext as _

from webapp.playground.runtime import RuntimeRefusal, stream_answer
from webapp.playground.selectors import ChatModel, chat_models, may_chat

Turns = list[dict[str, Any]]

ANSWERS_AT_ONCE = 4
QUEUE_AT_MOST = 32
LONGEST_QUESTION = 8_000  # characters


def make_blocks() -> gr.Blocks:
    """The panel. Which models are offered depends on who asks (on page load)."""
    with gr.Blocks(
        title=_("Chat"), analytics_enabled=False, fill_height=True, fill_width=True
    ) as blocks:
        known = gr.State([])
        with gr.Row(elem_classes="chat-head"):
            model = gr.Dropdown(label=_("Model"), choices=[], elem_id="model")
            beside = gr.Checkbox(label=_("The base model beside it"), elem_id="beside")
        shown = _which()
        with gr.Row(elem_classes="chat-talk"):
            adapted = _chatbot(_("Your model"), "adapted")
            base = _chatbot(_("Base model"), "base", visible=False)
        with gr.Row(elem_classes="chat-ask"):
            question = _question_field()
        prompts = gr.Dataset(
            label=_("Try"), components=[question], samples=[], type="values"
        )
        with gr.Accordion(_("How the answer is chosen"), open=False):
            sampling = _sampling()
            clear = gr.Button(_("New conversation"), size="sm")

        blocks.load(_offer, None, [known, model, prompts])
        beside.change(lambda on: [gr.update(visible=on)] * 2, beside, [base, shown])
        model.change(_suggest, [known, model], prompts)
        prompts.click(lambda row: row[0], prompts, question)
        asked = question.submit(
            _ask, [question, adapted, base], [question, adapted, base]
        )
        writing = asked.then(
            _write,
            [known, model, beside, adapted, base, *sampling],
            [adapted, base],
            concurrency_limit=ANSWERS_AT_ONCE,
            trigger_mode="multiple",  # also while one is just being ended
        )
        writing.then(_rest, None, question, queue=False)
        question.stop(_rest, None, question, cancels=[writing], queue=False)
        # A question asked meanwhile ends the answer; what was written of it stays.
        question.submit(None, cancels=[writing])
        gr.on([clear.click, model.change], lambda: ([], []), None, [adapted, base])
    blocks.queue(default_concurrency_limit=ANSWERS_AT_ONCE, max_size=QUEUE_AT_MOST)
    return blocks


def theme() -> gr.themes.Base:
    """Gradio's plainest theme; letters are the site's, nothing is loaded from outside."""
    return gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])


def _chatbot(label: str, name: str, *, visible: bool = True) -> gr.Chatbot:
    return gr.Chatbot(
        label=label,
        elem_id=name,
        elem_classes="letters",
        visible=visible,
        height="60vh",
        render_markdown=False,
        sanitize_html=True,
        allow_tags=False,
        latex_delimiters=[],
        buttons=["copy"],
        feedback_options=None,
        layout="bubble",
        allow_file_downloads=False,
    )


def _which() -> gr.Radio:
    """Which of two conversations a phone shows; playground.css hides it elsewhere."""
    return gr.Radio(
        [(_("Your model"), "adapted"), (_("Base model"), "base")],
        value="adapted",
        label=_("Which conversation is shown"),
        show_label=False,
        container=False,
        visible=False,
        interactive=True,
        elem_id="which",
    )


def _question_field() -> gr.Textbox:
    return gr.Textbox(
        label=_("Your message"),
        show_label=False,
        placeholder=_("Write in the language…"),
        max_length=LONGEST_QUESTION,
        max_lines=6,
        scale=8,
        elem_id="question",
        submit_btn=_("Send"),
    )


def _sampling() -> list[gr.Slider]:
    """Sliders in the order of `_write`'s arguments."""
    return [
        gr.Slider(
            0, 1.5, 0.3, step=0.05, label=_("Temperature"),
            info=_("0: always the likeliest word; higher: more surprising."),
        ),
        gr.Slider(
            0.1, 1, 0.9, step=0.05, label=_("Top p"),
            info=_("Unlikely words beyond this share are never chosen."),
        ),
        gr.Slider(
            1, 1.5, 1.1, step=0.05, label=_("Against repetition"),
            info=_("1: none; higher: words already written become less likely."),
        ),
        gr.Slider(
            16, 512, 120, step=8, label=_("Longest answer"), info=_("In tokens."),
        ),
    ]  # fmt: skip


def _offer(request: gr.Request) -> tuple[list[ChatModel], Any, Any]:
    """Fill the picker for the person and the workspace of the page's address."""
    wanted = dict(request.query_params)
    models = chat_models(request.username or "", wanted.get("workspace", ""))
    ids = [model.id for model in models]
    chosen = (
        wanted.get("model") if wanted.get("model") in ids else next(iter(ids), None)
    )
    picker = gr.update(choices=[(m.name, m.id) for m in models], value=chosen)
    return models, picker, _suggest(models, chosen)


def _suggest(models: list[ChatModel], chosen: str | None) -> Any:
    model = next((model for model in models if model.id == chosen), None)
    samples = [[prompt] for prompt in model.prompts] if model else []
    return gr.update(samples=samples, visible=bool(samples))


def _rest() -> Any:
    """Nothing is being written: the button sends."""
    return gr.update(submit_btn=_("Send"), stop_btn=False)


def _ask(question: str, adapted: Turns, base: Turns) -> tuple[Any, Turns, Turns]:
    """Put the question into both conversations and empty the field."""
    question = question.strip()
    if not question:
        raise gr.Error(_("Write a question first."), duration=4)
    turn = {"role": "user", "content": question}
    emptied = gr.update(value="", submit_btn=False, stop_btn=_("Stop"))
    return emptied, [*adapted, turn], [*base, dict(turn)]


def _write(
    models: list[ChatModel],
    chosen: str | None,
    beside: bool,
    adapted: Turns,
    base: Turns,
    temperature: float,
    top_p: float,
    repetition_penalty: float,
    max_tokens: float,
    request: gr.Request,
) -> Iterator[tuple[Turns, Turns]]:
    """Both answers as they are written."""
    model = next((model for model in models if model.id == chosen), None)
    if model is None:
        raise gr.Error(_("There is no model to chat with yet. Finish a job first."))
    if not adapted or not may_chat(request.username or "", model.id):
        raise gr.Error(_("This model is not there any more. Load the page again."))
    sampling = {
        "temperature": temperature,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "max_tokens": int(max_tokens),
    }
    asked = {"adapted": (model.id, adapted)}
    if beside:
        asked["base"] = (model.base, base)
    answers = {name: "" for name in asked}
    for name, piece in _together(asked, sampling):
        answers[name] += piece
        yield (
            _with_answer(adapted, answers["adapted"]),
            _with_answer(base, answers["base"]) if beside else base,
        )
    if not all(answers.values()):
        # A small model may end its turn at once; an empty bubble would look like a fault.
        silent = _("⚠ The model ended its answer before the first word. Ask again.")
        yield (
            _with_answer(adapted, answers["adapted"] or silent),
            _with_answer(base, answers["base"] or silent) if beside else base,
        )


def _together(
    asked: dict[str, tuple[str, Turns]], sampling: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Pieces of all answers as they come, with the name of the conversation.

    Leaving the iterator early (the stop button) ends every answer.
    """
    pieces: Queue[tuple[str, str | None]] = Queue()
    streams = {
        name: stream_answer(model=model, messages=plain_turns(turns), sampling=sampling)
        for name, (model, turns) in asked.items()
    }
    stopped = False

    def pump(name: str) -> None:
        try:
            for piece in streams[name]:
                if stopped:
                    break
                pieces.put((name, piece))
        except RuntimeRefusal as refusal:
            pieces.put((name, f"⚠ {refusal}"))
        finally:
            streams[name].close()
            pieces.put((name, None))

    with ThreadPoolExecutor(len(streams)) as pool:
        for name in streams:
            pool.submit(pump, name)
        try:
            running = len(streams)
            while running:
                name, piece = pieces.get()
                if piece is None:
                    running -= 1
                else:
                    yield name, piece
        finally:
            stopped = True


def plain_turns(turns: Turns) -> list[dict[str, str]]:
    """Turns as the runtime takes them; gradio holds contents as lists of parts."""
    return [{"role": turn["role"], "content": _text(turn["content"])} for turn in turns]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(
        part if isinstance(part, str) else str(part.get("text", "")) for part in content
    )


def _with_answer(turns: Turns, answer: str) -> Turns:
    return [*turns, {"role": "assistant", "content": answer}]

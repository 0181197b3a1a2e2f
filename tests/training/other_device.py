"""A device that is not the CPU, computed by the CPU: who mixes the two is refused.

    python -m tests.training.other_device SPEC.json RUN_DIR [SPEC.json RUN_DIR ...]

Runs jobs as `python -m training` does, on it. It knows nothing of CUDA's kernels, streams
or memory; it finds tensors that were left behind on the other side, which on a machine
without a GPU nothing else finds. All of PyTorch in the process is changed: nothing else
should run in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "other"
# What takes tensors of the CPU beside those of a GPU: copies, and places to look up.
CROSSING = ("aten::copy_", "aten::_to_copy", "aten::_copy_from")
CROSSING += ("aten::index", "aten::index_put", "aten::index_put_")


class Mixed(RuntimeError):
    """What CUDA says of tensors on two devices."""


class Tensor(torch.Tensor):
    """A tensor of that device; `here` is the one of the CPU that computes for it."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Tensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, here: torch.Tensor) -> None:
        self.here = here

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(operation, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copy = Tensor(self.here.detach().clone())
            if getattr(self, "_is_param", False):
                copy = torch.nn.Parameter(copy, requires_grad=self.requires_grad)
            memo[id(self)] = copy
        return memo[id(self)]

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    def tolist(self) -> Any:
        return self.here.tolist()


def compute(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on tensors of the device; raises Mixed for others among them."""
    given, _ = tree_flatten((args, kwargs))
    tensors = [one for one in given if isinstance(one, torch.Tensor)]
    name = operation._schema.name
    # Numbers without a dimension may come from anywhere, on CUDA too.
    left = [t.shape for t in tensors if not isinstance(t, Tensor) and t.dim()]
    if left and name not in CROSSING:
        raise Mixed(f"{name}: {left} stayed behind on the CPU")
    found = operation(*tree_map(cross, args), **tree_map(cross, kwargs))
    asked = kwargs.get("device")
    if asked is not None and torch.device(asked).type != NAME:
        return found
    if name == "aten::copy_":
        return args[0]
    # What was written in place is the same tensor as before.
    known = {id(t.here): t for t in tensors if isinstance(t, Tensor)}
    return tree_map(
        lambda one: known[id(one)] if id(one) in known else wrap(one), found
    )


def cross(one: Any) -> Any:
    """An argument as the CPU takes it."""
    if isinstance(one, torch.device) and one.type == NAME:
        return torch.device("cpu")
    return one.here if isinstance(one, Tensor) else one


def wrap(one: Any) -> Any:
    """A result as a tensor of the device."""
    return Tensor(one) if isinstance(one, torch.Tensor) else one


def install() -> list[torch.library.Library]:
    """Make the device known; what is returned must live as long as it is used."""
    _setup_privateuseone_for_python_backend(NAME)
    _device_constructors()  # PyTorch keeps this list: before `tensor` is replaced
    own = torch.library.Library("aten", "IMPL")

    def empty(size: Any, dtype: Any = None, *_: Any, **__: Any) -> Tensor:
        return Tensor(torch.empty(size, dtype=dtype))

    def strided(
        size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any
    ) -> Tensor:
        return Tensor(torch.empty_strided(size, stride, dtype=dtype))

    def copy(one: Any, into: Any, _waits: bool = False) -> Any:
        cross(into).copy_(cross(one))
        return into

    own.impl("empty.memory_format", empty, "PrivateUse1")
    own.impl("empty_strided", strided, "PrivateUse1")
    own.impl("_copy_from", copy, "PrivateUse1")
    others = torch.library.Library("_", "IMPL")
    others.fallback(lambda op, *args, **more: compute(op, args, more), "PrivateUse1")
    for name in ("tensor", "as_tensor"):
        setattr(torch, name, made_there(getattr(torch, name)))
    torch.nn.Module._apply = tied(torch.nn.Module._apply)
    return [own, others]


def made_there(make: Any) -> Any:
    """`torch.tensor`, which makes what it makes with Python shut out."""

    def made(data: Any, *, device: Any = None, **more: Any) -> torch.Tensor:
        if device is not None and torch.device(device).type == NAME:
            return make(data, **more).to(device)
        return make(data, device=device, **more)

    return made


def tied(apply: Any) -> Any:
    """`Module._apply`, after which one matrix in two places is still one: CUDA's tensors
    are put into the old parameter, these cannot."""
    inside = []

    def applied(self: torch.nn.Module, change: Any, recurse: bool = True) -> Any:
        if inside:
            return apply(self, change, recurse)
        places: dict[int, list[tuple[torch.nn.Module, str]]] = {}
        for module in self.modules():
            for name, weight in module._parameters.items():
                places.setdefault(id(weight), []).append((module, name))
        inside.append(self)
        try:
            found = apply(self, change, recurse)
        finally:
            inside.clear()
        for (first, its_name), *others in places.values():
            for module, name in others:
                module._parameters[name] = first._parameters[its_name]
        return found

    return applied


def use_it() -> None:
    """Have the engine compute there, with CUDA's sizes."""
    from training import compute as where
    from training.embeddings import distillation
    from training.evaluation import bits_per_byte
    from training.pretraining import compiled
    from training.settings import forward_pass
    from training.tuning import sft

    where.prepare_device = lambda _asked: torch.device(NAME)
    compiled.choose = lambda *_: False  # it has no compiler
    for module in (forward_pass, bits_per_byte, distillation, sft):
        module.LOGITS_AT_ONCE[NAME] = module.LOGITS_AT_ONCE["cuda"]
    forward_pass.KEPT_AT_ONCE[NAME] = forward_pass.KEPT_AT_ONCE["cuda"]


def refuses() -> bool:
    """Whether a tensor that stayed behind is found."""
    there = torch.ones(2, 2, device=NAME)
    try:
        there @ torch.ones(2, 2)
    except Mixed:
        return (there @ there).sum().item() == 8
    return False


def main(paths: list[str]) -> int:
    """Run the jobs one after the other; the highest exit code."""
    from training.run import run_job
    from training.spec import JobSpec

    use_it()
    codes = []
    for spec, folder in zip(paths[::2], paths[1::2], strict=True):
        read = JobSpec.from_json(json.loads(Path(spec).read_text(encoding="utf-8")))
        codes.append(run_job(read, Path(folder)))
    return max(codes)


if __name__ == "__main__":
    keep = install()
    assert refuses()
    sys.exit(main(sys.argv[1:]))

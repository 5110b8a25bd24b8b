"""Short vectors inside compiled kernels: what the compiler does not find by itself.

The inner loops of the kernels run over a few sigmas. Their length is known at run time only, so automatic
vectorisation would spend more on its preparations than on the work. These functions fix the width instead:
32 bytes, four float64 or eight float32. They exist only inside functions compiled by numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

#: Elements in a vector, by the name of their type.
WIDTH = {"float64": 4, "float32": 8}
_ELEMENT = {"float64": ir.DoubleType(), "float32": ir.FloatType()}
_FAST = ("fast",)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use, without the interpreter lock, and keep the machine code on the disk.

    The code is stored beside the module, or in the user's cache folder, or (when nothing is writable) not.
    It is made anew when the file of `function` changes, but not for changes in the functions that it calls
    in other files: after work on those, remove the ``__pycache__`` folder.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder to write to
        return njit(**options)(function)


class _Vector(types.Type):
    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"Vector({dtype})")
        self.dtype = dtype


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, _llvm(kind))


def _llvm(kind: _Vector) -> ir.VectorType:
    return ir.VectorType(_ELEMENT[kind.dtype.name], WIDTH[kind.dtype.name])


def _address(context: Any, builder: Any, kind: types.Array, array: Any, index: Any, target: ir.Type) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, index), target.as_pointer())


# Untyped, because to a type checker an intrinsic looks as if it took the compiler's context.
_intrinsic: Any = intrinsic


@_intrinsic
def load(typingctx, array, index):
    """Vector of the elements of a contiguous 1-D array from `index` on."""
    kind = _Vector(array.dtype)

    def generate(context, builder, signature, args):
        place = _address(context, builder, signature.args[0], args[0], args[1], _llvm(kind))
        return builder.load(place, align=kind.dtype.bitwidth // 8)

    return kind(array, types.intp), generate


@_intrinsic
def store(typingctx, array, index, vector):
    """Write a vector into a contiguous 1-D array from `index` on."""

    def generate(context, builder, signature, args):
        place = _address(context, builder, signature.args[0], args[0], args[1], _llvm(vector))
        builder.store(args[2], place, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_intrinsic
def splat(typingctx, value):
    """Vector with `value` in every place."""
    kind = _Vector(value)

    def generate(context, builder, signature, args):
        shape = _llvm(kind)
        one = builder.insert_element(ir.Constant(shape, ir.Undefined), args[0], ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), shape.count), [0] * shape.count)
        return builder.shuffle_vector(one, ir.Constant(shape, ir.Undefined), mask)

    return kind(value), generate


@_intrinsic
def times(typingctx, left, right):
    """Product of two vectors, place by place."""

    def generate(context, builder, signature, args):
        return builder.fmul(*args, flags=_FAST)

    return left(left, right), generate


@_intrinsic
def plus(typingctx, left, right):
    """Sum of two vectors, place by place."""

    def generate(context, builder, signature, args):
        return builder.fadd(*args, flags=_FAST)

    return left(left, right), generate


@_intrinsic
def times_plus(typingctx, left, right, addend):
    """``left * right + addend``, fused where the processor can."""

    def generate(context, builder, signature, args):
        return builder.fadd(builder.fmul(args[0], args[1], flags=_FAST), args[2], flags=_FAST)

    return left(left, right, addend), generate


@_intrinsic
def store_totals(typingctx, array, index, a, b, c, d):
    """Write the sums of the places of four vectors side by side into a contiguous 1-D array."""

    def generate(context, builder, signature, args):
        def pick(left, right, places):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
            return builder.shuffle_vector(left, right, mask)

        def added(left, right, first, second):
            return builder.fadd(pick(left, right, first), pick(left, right, second), flags=_FAST)

        vectors = args[2:]
        if WIDTH[a.dtype.name] == 8:
            vectors = [added(v, v, [0, 1, 2, 3], [4, 5, 6, 7]) for v in vectors]
        first = added(vectors[0], vectors[1], [0, 4, 2, 6], [1, 5, 3, 7])
        second = added(vectors[2], vectors[3], [0, 4, 2, 6], [1, 5, 3, 7])
        result = added(first, second, [0, 1, 4, 5], [2, 3, 6, 7])
        place = _address(context, builder, signature.args[0], args[0], args[1], result.type)
        builder.store(result, place, align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b, c, d), generate

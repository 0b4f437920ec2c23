"""Kernels as expressions: for recursions that no Polars expression can say. Numba is loaded when one runs."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from transforms.kernels import load, readable


def kernel_expr(
    name: str, inputs: Sequence[pl.Expr], parameters: Sequence[float] = (), fields: Sequence[str] = ()
) -> pl.Expr:
    """What the kernel `name` of `transforms.kernels` fills in, over the whole column or each group of `over`.

    The kernel is a recursion. It is called with the bounds of one group, of which nothing is known, the `inputs`
    as arrays of float64 (a null is a NaN), the `parameters`, and one array to fill for each of the `fields`, in
    their order; a NaN it leaves becomes null. Gives a struct of these fields, or plain values where no field is
    named and there is one to fill.
    """
    names = tuple(fields) or ("",)
    dtype = pl.Struct({field: pl.Float64() for field in fields}) if fields else pl.Float64()

    def run(series: Sequence[pl.Series]) -> pl.Series:
        rows = len(series[0])
        made = {field: np.full(rows, np.nan) for field in names}
        arrays = (readable(values.cast(pl.Float64)) for values in series)
        load(name)(np.array([0, rows]), np.zeros(1, np.int64), *arrays, *parameters, *made.values())
        values = [pl.Series(field, array, nan_to_null=True) for field, array in made.items()]
        return pl.DataFrame(values).to_struct(name) if fields else values[0]

    return pl.map_batches(list(inputs), run, return_dtype=dtype)

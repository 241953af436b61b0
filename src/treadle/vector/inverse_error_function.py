"""The inverse of the error function, for float32 and float64, without branches.

erfinv(x) / x is a smooth function of w = -log(1 - x*x), and further out of sqrt(w): Giles, "Approximating the erfinv
function" (2012). Polynomials from tests/vector/fit.py.
"""

from __future__ import annotations

from treadle.vector.logarithm import log_f8
from treadle.vector.power import log_wide
from treadle.vector.primitives import F4, F8, abs_f8, copysign_f4, copysign_f8, f4, f8, fma_f8, select, sqrt_f8

INF = float("inf")
NAN = float("nan")


def erfinv_near(w: F8) -> F8:
    """erfinv(x) / x for w up to 6.25: its value at 0, and w times a polynomial of w - 3.125."""
    v = w - 3.125
    q0 = -0.0017339716761990566906 * v + 0.24557684391371031325
    q1 = 0.00020326438666216983716 * v - 0.0013759037424731863662
    q2 = -2.7497171941798150865e-6 * v - 5.2896571641176765847e-6
    q3 = -6.2337740282166076003e-9 * v + 4.42959363092631647e-7
    q4 = 1.0224168552742108253e-9 * v - 7.3077147759423734271e-9
    q5 = -2.0274821657054820971e-11 * v + 9.2164819523987223126e-12
    q6 = 9.440622959599604277e-14 * v + 2.3353200609039063692e-12
    q7 = 5.1834064789704109586e-15 * v - 5.6185191362759940784e-14
    q8 = -1.5836898114701847204e-16 * v + 4.517141836976719412e-16
    q9 = 2.1524085528565490559e-18 * v + 9.0574976819099076158e-18
    q10 = -1.1638869737648893631e-20 * v - 3.2219284428419978276e-19
    q11 = 3.3943808332910140347e-21
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q5 * v2 + q4
    q3 = q7 * v2 + q6
    q4 = q9 * v2 + q8
    q5 = q11 * v2 + q10
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q3 * v4 + q2
    q2 = q5 * v4 + q4
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    q1 = q2
    v16 = v8 * v8
    q0 = q1 * v16 + q0
    return w * q0 + 0.88622692545275801365


def erfinv_middle(v: F8) -> F8:
    """erfinv(x) / x for v = sqrt(w) - 3.25 from -0.75 to 0.75."""
    q0 = 1.0052589676941569636 * v
    q1 = -0.0037512085073545122079 * v + 0.0053709145535836141425
    q2 = -0.0016882755618113373668 * v + 0.002491442096571094626
    q3 = -0.00035503745106966764543 * v + 0.00095328936862234850747
    q4 = 0.000068284415376210731599 * v + 0.00002403123467310045811
    q5 = 0.000012476850114669412042 * v - 0.000047318975920380328626
    q6 = -4.0169689249624388141e-6 * v + 2.9260040636320103585e-6
    q7 = 2.152516226593724579e-8 * v + 1.497738571178715434e-6
    q8 = 8.9329454045737312927e-8 * v - 2.699866286046528897e-7
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q5 * v2 + q4
    q3 = q7 * v2 + q6
    q4 = q8
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q3 * v4 + q2
    q2 = q4
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    q1 = q2
    v16 = v8 * v8
    q0 = q1 * v16 + q0
    return q0 + 3.0838856104922205756


def erfinv_far(v: F8) -> F8:
    """erfinv(x) / x for v = sqrt(w) - 5 from -1 to 1.02."""
    q0 = 1.0103004648645328913 * v
    q1 = -0.00021503011923519862504 * v - 0.00013871931832402992393
    q2 = -0.000019681778908400222047 * v + 0.000075995276817193206942
    q3 = -9.9297844919803868543e-7 * v + 4.5260639612327254435e-6
    q4 = -6.7723542500861887916e-8 * v + 2.2900075172114847475e-7
    q5 = -1.4943546429734820916e-8 * v + 2.9153982297047765143e-8
    q6 = -3.801330513041867198e-9 * v + 7.6116037757829946844e-9
    q7 = -2.5217465361818697321e-10 * v + 1.5083829846084828862e-9
    q8 = -2.6859000714116481723e-11
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q5 * v2 + q4
    q3 = q7 * v2 + q6
    q4 = q8
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q3 * v4 + q2
    q2 = q4
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    q1 = q2
    v16 = v8 * v8
    q0 = q1 * v16 + q0
    return q0 + 4.8499064014085839305


def erfinv_near_wide(v: F8) -> F8:
    """erfinv(x) / x for v = w - 3.125 from -3.125 to 3.125, to float32 accuracy."""
    q0 = 0.24015817422087286755 * v + 1.653654571314975314
    q1 = -0.00074068772647399252202 * v - 0.0060337300718331899613
    q2 = -0.000013891444207656028689 * v + 0.00018679968692290982185
    q3 = 4.2630784053193968994e-7 * v - 1.3919588665086299401e-6
    q4 = -4.6385129420011217616e-9 * v - 2.4208258810755722436e-8
    q5 = 6.3775361374705154238e-10
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q5 * v2 + q4
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q2
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    return q0


def erfinv_far_wide(v: F8) -> F8:
    """erfinv(x) / x for v = sqrt(w) - 3.25 from -0.75 to 0.9, to float32 accuracy."""
    q0 = 1.0052589104245699887 * v + 3.0838856016271663576
    q1 = -0.0037497552752772939687 * v + 0.005371568205597657026
    q2 = -0.0016974645998954413728 * v + 0.0024834909748592156633
    q3 = -0.00033586861728664424073 * v + 0.00098842300076160302356
    q4 = 0.000061446638205528173901 * v - 0.000042245817599792786414
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q4
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q2
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    return q0


def erfinv_f8(x: F8) -> F8:
    """The y with erf(y) = x, 4 ULP; infinite at -1 and 1, NaN beyond."""
    a = abs_f8(x)
    w = -log_f8((1.0 - a) * (1.0 + a))
    s = sqrt_f8(w)
    rest = fma_f8(-s, s, w) / (s + s)  # what the root was rounded by
    outer = select(w < 16.0, erfinv_middle((s - 3.25) + rest), erfinv_far((s - 5.0) + rest))
    y = x * select(w < 6.25, erfinv_near(w), outer)
    return select(a == 1.0, copysign_f8(INF, x), y)


def erfinv_f4(x: F4) -> F4:
    """The y with erf(y) = x, by way of float64, 1 ULP; infinite at -1 and 1, NaN beyond."""
    d = f8(x)
    a = abs_f8(d)
    w = -log_wide((1.0 - a) * (1.0 + a))
    far = erfinv_far_wide(sqrt_f8(w) - 3.25)
    y = f4(d * select(w < 6.25, erfinv_near_wide(w - 3.125), far))
    return select(a < 1.0, y, select(a == 1.0, copysign_f4(INF, x), select(x == x, NAN, x)))

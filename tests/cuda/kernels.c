/* The kernels that the reference models launch, by the beginning of their mangled names, with their arguments as
 * ONNX Runtime 1.31 declares them. */

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "standin.h"

#define DIMENSIONS 8

/* Divides by multiplying, on a GPU; here only the divisor matters. */
typedef struct {
    int divisor;
    unsigned multiplier, shift;
} Division;

typedef struct {
    int32_t count;
    int64_t values[DIMENSIONS];
} Strides;

typedef struct {
    int32_t count;
    Division values[DIMENSIONS];
} Divisions;

#define ARGUMENT(type, at) (*(type *)arguments[at])

/* out[i] = f(in[i]) */
static int unary(void **arguments, float (*f)(float)) {
    const float *in = ARGUMENT(const float *, 0);
    float *out = ARGUMENT(float *, 1);
    long count = ARGUMENT(long, 3);
    for (long i = 0; i < count; i++) out[i] = f(in[i]);
    return OK;
}

static float relu(float x) { return x > 0 ? x : 0; }
static float sigmoid(float x) { return x > 0 ? 1 / (1 + expf(-x)) : 1 - 1 / (1 + expf(x)); }

static int is_nan(void **arguments) {
    const float *in = ARGUMENT(const float *, 0);
    bool *out = ARGUMENT(bool *, 1);
    long count = ARGUMENT(long, 3);
    for (long i = 0; i < count; i++) out[i] = isnan(in[i]);
    return OK;
}

/* left[i] by right[channel of i]. Of one row alone the number of channels is not said. */
static int by_channel(void **arguments, int is_one_row, float (*f)(float, float)) {
    const float *left = ARGUMENT(const float *, 0), *right = ARGUMENT(const float *, 1);
    int within = ARGUMENT(Division, 2).divisor, at = is_one_row ? 3 : 4;
    float *out = ARGUMENT(float *, at);
    int count = ARGUMENT(int, at + 2);
    int channels = is_one_row ? count : ARGUMENT(Division, 3).divisor;
    for (int i = 0; i < count; i++) out[i] = f(left[i], right[i / within % channels]);
    return OK;
}

static float minus(float a, float b) { return a - b; }
static float over(float a, float b) { return a / b; }

/* condition ? left : right, of which left is broadcast. */
static int where(void **arguments) {
    size_t rank = ARGUMENT(size_t, 0);
    const bool *condition = ARGUMENT(const bool *, 2);
    Strides *strides = arguments[3];
    const float *left = ARGUMENT(const float *, 4), *right = ARGUMENT(const float *, 6);
    Divisions *sizes = arguments[7];
    float *out = ARGUMENT(float *, 8);
    int count = ARGUMENT(int, 9);
    for (int i = 0; i < count; i++) {
        int64_t at = 0;
        int rest = i;
        for (size_t axis = 0; axis < rank; axis++) {
            int divisor = sizes->values[axis].divisor;
            at += strides->values[axis] * (rest / divisor);
            rest %= divisor;
        }
        out[i] = condition[i] ? left[at] : right[i];
    }
    return OK;
}

static int clip(void **arguments) {
    const float *in = ARGUMENT(const float *, 0);
    float *out = ARGUMENT(float *, 1);
    const float *least = ARGUMENT(const float *, 2), *most = ARGUMENT(const float *, 3);
    float low = least ? *least : ARGUMENT(float, 4), high = most ? *most : ARGUMENT(float, 5);
    size_t count = ARGUMENT(size_t, 6);
    for (size_t i = 0; i < count; i++) out[i] = in[i] < low ? low : in[i] > high ? high : in[i];
    return OK;
}

/* The bias of a matrix product, repeated for every row of the result. */
static int bias(void **arguments) {
    const float *in = ARGUMENT(const float *, 0);
    float *out = ARGUMENT(float *, 1);
    long count = ARGUMENT(long, 2);
    int columns = ARGUMENT(Division, 3).divisor;
    for (long i = 0; i < count; i++) out[i] = in[i % columns];
    return OK;
}

int run_kernel(const char *name, void **arguments) {
#define IS(text) strstr(name, text)
    if (IS("_UnaryElementWise")) {
        if (IS("_IsNan")) return is_nan(arguments);
        if (IS("OP_Relu")) return unary(arguments, relu);
        if (IS("OP_Sigmoid")) return unary(arguments, sigmoid);
    }
    if (IS("_BinaryElementWiseRhsPerChannelBatch")) {
        int is_one_row = IS("Batch1I") != NULL;
        if (IS("OP_Sub")) return by_channel(arguments, is_one_row, minus);
        if (IS("OP_Div")) return by_channel(arguments, is_one_row, over);
    }
    if (IS("_TenaryElementWiseIfLNS0_18BroadcastIndexTypeE0ELS2_2ELS2_0E")) return where(arguments);
    if (IS("_Clip")) return clip(arguments);
    if (IS("BroadcastBiasKernelIfiLb0E")) return bias(arguments);
    return NOT_SUPPORTED;
}

/* Matrix products of 32-bit floats, column by column as BLAS has them, added up in one order. */

#include <stddef.h>

enum { OK = 0, NOT_SUPPORTED = 15 };

#define UNUSED(name) \
    int name(void) { return NOT_SUPPORTED; }

static int handle;

int cublasCreate_v2(void **out) { return *out = &handle, OK; }
int cublasDestroy_v2(void *of) { return (void)of, OK; }
int cublasSetStream_v2(void *of, void *stream) { return (void)of, (void)stream, OK; }
int cublasSetMathMode(void *of, int mode) { return (void)of, (void)mode, OK; }
int cublasGetMathMode(void *of, int *mode) { return (void)of, *mode = 0, OK; }
const char *cublasGetStatusName(int status) { return (void)status, "CUBLAS_STATUS_NOT_SUPPORTED"; }
const char *cublasGetStatusString(int status) { return cublasGetStatusName(status); }

/* c[m, n] = alpha * op(a)[m, k] * op(b)[k, n] + beta * c */
int cublasSgemm_v2(void *of, int a_turned, int b_turned, int m, int n, int k, const float *alpha, const float *a,
                   int a_step, const float *b, int b_step, const float *beta, float *c, int c_step) {
    (void)of;
    for (int column = 0; column < n; column++) {
        for (int row = 0; row < m; row++) {
            float sum = 0;
            for (int i = 0; i < k; i++) {
                float left = a_turned ? a[(size_t)row * a_step + i] : a[(size_t)i * a_step + row];
                float right = b_turned ? b[(size_t)i * b_step + column] : b[(size_t)column * b_step + i];
                sum += left * right;
            }
            float *out = &c[(size_t)column * c_step + row];
            *out = *alpha * sum + (*beta == 0 ? 0 : *beta * *out);
        }
    }
    return OK;
}

UNUSED(cublasDgeam)
UNUSED(cublasDgemmBatched)
UNUSED(cublasDgemmStridedBatched)
UNUSED(cublasDgemm_v2)
UNUSED(cublasDgetrfBatched)
UNUSED(cublasDgetriBatched)
UNUSED(cublasGemmBatchedEx)
UNUSED(cublasGemmEx)
UNUSED(cublasGemmStridedBatchedEx)
UNUSED(cublasScopy_v2)
UNUSED(cublasSgeam)
UNUSED(cublasSgemmBatched)
UNUSED(cublasSgemmStridedBatched)
UNUSED(cublasSgetrfBatched)
UNUSED(cublasSgetriBatched)
UNUSED(cublasSscal_v2)

/* The provider opens it, and no model here needs more of it. */

enum { OK = 0, NOT_SUPPORTED = 15 };

#define UNUSED(name) \
    int name(void) { return NOT_SUPPORTED; }

static int handle;

int cublasLtCreate(void **out) { return *out = &handle, OK; }
int cublasLtDestroy(void *of) { return (void)of, OK; }

UNUSED(cublasLtMatmul)
UNUSED(cublasLtMatmulAlgoConfigSetAttribute)
UNUSED(cublasLtMatmulAlgoGetHeuristic)
UNUSED(cublasLtMatmulAlgoInit)
UNUSED(cublasLtMatmulDescCreate)
UNUSED(cublasLtMatmulDescDestroy)
UNUSED(cublasLtMatmulDescSetAttribute)
UNUSED(cublasLtMatmulPreferenceCreate)
UNUSED(cublasLtMatmulPreferenceDestroy)
UNUSED(cublasLtMatmulPreferenceSetAttribute)
UNUSED(cublasLtMatrixLayoutCreate)
UNUSED(cublasLtMatrixLayoutDestroy)
UNUSED(cublasLtMatrixLayoutSetAttribute)
UNUSED(cublasLtMatrixTransform)
UNUSED(cublasLtMatrixTransformDescCreate)
UNUSED(cublasLtMatrixTransformDescDestroy)

/* A stand-in for CUDA's runtime: what ONNX Runtime's CUDA provider asks of it, done by the CPU.
 *
 * The provider itself is the real one, from its wheel: it decides which nodes it takes, allocates, copies, launches
 * and says what failed, as on a machine with a GPU. Device memory is the host's. Kernels are known by name
 * (`kernels.c`), matrix products are in `cublas.c`; a kernel that is not known fails, and nothing is ever left
 * uncomputed. So it shows that the code around the provider is right, also where the device has too little memory or
 * is lost; of speed, and of how a GPU rounds, it shows nothing.
 *
 *   STANDIN_DEVICES      how many there are (1)
 *   STANDIN_MEMORY       bytes of memory (8 GiB)
 *   STANDIN_LOST         a file; while it is there the device is lost: whatever is asked of it fails with 719
 *   STANDIN_LOG          a file; gets one line for each allocation, copy and launch
 *
 * Layouts and signatures are those of CUDA 13. What is declared with `UNUSED` is linked, but no model here needs it.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin.h"

typedef struct {
    unsigned x, y, z;
} Size;

#define UNUSED(name) \
    int name(void) { return failed(NOT_SUPPORTED); }

#define ALIGNMENT 256

static _Thread_local int last;
static long used;
/* What every call fails with, once a kernel was asked for that is not there. */
static int broken;

/* A call that went well leaves the last error as it was. */
static int failed(int error) {
    if (error) last = error;
    return error;
}

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int trouble(void) {
    const char *lost = getenv("STANDIN_LOST");
    return lost && access(lost, F_OK) == 0 ? LAUNCH_FAILED : broken;
}

static int alive(void) { return failed(trouble()); }

static void note(const char *what, const char *name, size_t number) {
    const char *path = getenv("STANDIN_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s %s %zu\n", what, name, number);
        fclose(file);
    }
}

/* Devices */

/* The head of `cudaDeviceProp`; what follows stays zero. */
typedef struct {
    char name[256];
    char uuid[16];
    char luid[8];
    unsigned luid_mask;
    size_t memory;
    size_t shared_memory;
    int registers;
    int warp;
    size_t pitch;
    int threads;
    int block[3];
    int grid[3];
    size_t constants;
    int major;
    int minor;
    size_t alignment[2];
    int processors;
} Properties;

#define PROPERTIES_BYTES 1008

static const struct {
    int attribute, value;
} ATTRIBUTES[] = {{1, 1024} /* threads of a block */, {10, 32} /* of a warp */, {16, 132} /* processors */,
                  {75, 9} /* capability: Hopper */, {97, 227 << 10} /* shared memory */};

int cudaGetDeviceCount(int *count) {
    *count = (int)setting("STANDIN_DEVICES", 1);
    return *count ? alive() : failed(NO_DEVICE);
}

int cudaGetDevice(int *device) {
    *device = 0;
    return OK;
}

int cudaSetDevice(int device) { return device < setting("STANDIN_DEVICES", 1) ? OK : failed(NO_DEVICE); }

int cudaGetDeviceProperties(void *out, int device) {
    (void)device;
    memset(out, 0, PROPERTIES_BYTES);
    Properties head = {.name = "stand-in",
                       .memory = (size_t)setting("STANDIN_MEMORY", 8L << 30),
                       .shared_memory = 48 << 10,
                       .registers = 65536,
                       .warp = 32,
                       .pitch = 1u << 30,
                       .threads = 1024,
                       .block = {1024, 1024, 64},
                       .grid = {0x7fffffff, 65535, 65535},
                       .constants = 65536,
                       .major = 9,
                       .processors = 132};
    memcpy(out, &head, sizeof head);
    return OK;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = 0;
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (ATTRIBUTES[i].attribute == attribute) *value = ATTRIBUTES[i].value;
    return OK;
}

static int version(int *value) {
    *value = 13000;
    return OK;
}

int cudaDriverGetVersion(int *value) { return version(value); }
int cudaRuntimeGetVersion(int *value) { return version(value); }
int cudaDeviceSynchronize(void) { return alive(); }

/* Errors */

int cudaPeekAtLastError(void) {
    int error = trouble();
    return error ? error : last;
}

int cudaGetLastError(void) {
    int error = cudaPeekAtLastError();
    last = OK;
    return error;
}

const char *cudaGetErrorString(int error) {
    switch (error) {
    case OUT_OF_MEMORY:
        return "out of memory";
    case NO_DEVICE:
        return "no CUDA-capable device is detected";
    case LAUNCH_FAILED:
        return "unspecified launch failure";
    default:
        return "operation not supported";
    }
}

const char *cudaGetErrorName(int error) { return cudaGetErrorString(error); }

/* Memory. The number of bytes lies before each block. */

int cudaMalloc(void **out, size_t bytes) {
    note("allocate", "-", bytes);
    if (__atomic_add_fetch(&used, (long)bytes, __ATOMIC_SEQ_CST) > setting("STANDIN_MEMORY", 8L << 30)) {
        __atomic_sub_fetch(&used, (long)bytes, __ATOMIC_SEQ_CST);
        return failed(OUT_OF_MEMORY);
    }
    char *block = aligned_alloc(ALIGNMENT, (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    memcpy(block, &bytes, sizeof bytes);
    *out = block + ALIGNMENT;
    return OK;
}

int cudaFree(void *pointer) {
    if (!pointer) return OK;
    char *block = (char *)pointer - ALIGNMENT;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    __atomic_sub_fetch(&used, (long)bytes, __ATOMIC_SEQ_CST);
    free(block);
    return OK;
}

int cudaMemGetInfo(size_t *left, size_t *total) {
    *total = (size_t)setting("STANDIN_MEMORY", 8L << 30);
    *left = *total - (size_t)used;
    return OK;
}

int cudaHostAlloc(void **out, size_t bytes, unsigned flags) {
    (void)flags;
    *out = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return OK;
}

int cudaMallocHost(void **out, size_t bytes) { return cudaHostAlloc(out, bytes, 0); }

int cudaFreeHost(void *pointer) {
    free(pointer);
    return OK;
}

int cudaMemcpy(void *to, const void *from, size_t bytes, int direction) {
    (void)direction;
    memcpy(to, from, bytes);
    return alive();
}

int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int direction, void *stream) {
    static const char *const DIRECTIONS[] = {"here", "to-device", "from-device", "on-device", "any"};
    (void)stream;
    note("copy", DIRECTIONS[direction], bytes);
    return cudaMemcpy(to, from, bytes, direction);
}

int cudaMemset(void *to, int value, size_t bytes) {
    memset(to, value, bytes);
    return alive();
}

int cudaMemsetAsync(void *to, int value, size_t bytes, void *stream) {
    (void)stream;
    return cudaMemset(to, value, bytes);
}

/* Streams and events: whatever is launched has run when the call returns. */

static int token;

static int done(void **out) {
    *out = &token;
    return OK;
}

int cudaStreamCreate(void **out) { return done(out); }
int cudaStreamCreateWithFlags(void **out, unsigned flags) { return (void)flags, done(out); }
int cudaStreamDestroy(void *stream) { return (void)stream, OK; }
int cudaStreamSynchronize(void *stream) { return (void)stream, alive(); }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) {
    return (void)stream, (void)event, (void)flags, alive();
}
int cudaStreamIsCapturing(void *stream, int *is_capturing) { return (void)stream, *is_capturing = 0, OK; }
int cudaEventCreate(void **out) { return done(out); }
int cudaEventCreateWithFlags(void **out, unsigned flags) { return (void)flags, done(out); }
int cudaEventDestroy(void *event) { return (void)event, OK; }
int cudaEventRecord(void *event, void *stream) { return (void)event, (void)stream, alive(); }
int cudaEventSynchronize(void *event) { return (void)event, alive(); }
int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *argument) {
    (void)stream;
    function(argument);
    return OK;
}

/* Kernels. The compiler registers each under the address of its stub. */

#define KERNELS_MAX (1 << 16)

static struct {
    const void *stub;
    const char *name;
} kernels[KERNELS_MAX];
static int kernel_count;

static _Thread_local struct {
    Size grid, block;
    size_t shared_memory;
    void *stream;
} pushed;

void *__cudaRegisterFatBinary(void *binary) { return binary; }
void __cudaRegisterFatBinaryEnd(void *binary) { (void)binary; }
void __cudaUnregisterFatBinary(void *binary) { (void)binary; }
void __cudaRegisterVar(void) {}

void __cudaRegisterFunction(void **binary, const char *stub, char *function, const char *name) {
    (void)binary, (void)function;
    if (kernel_count == KERNELS_MAX) abort();
    kernels[kernel_count].stub = stub;
    kernels[kernel_count++].name = name;
}

static const char *name_of(const void *stub) {
    for (int i = 0; i < kernel_count; i++)
        if (kernels[i].stub == stub) return kernels[i].name;
    return "unknown";
}

unsigned __cudaPushCallConfiguration(Size grid, Size block, size_t shared_memory, void *stream) {
    pushed.grid = grid, pushed.block = block, pushed.shared_memory = shared_memory, pushed.stream = stream;
    return 0;
}

int __cudaPopCallConfiguration(Size *grid, Size *block, size_t *shared_memory, void *stream) {
    *grid = pushed.grid, *block = pushed.block, *shared_memory = pushed.shared_memory;
    *(void **)stream = pushed.stream;
    return OK;
}

static int launch(const char *name, void **arguments) {
    if (trouble()) return alive();
    note("launch", name, 1);
    broken = run_kernel(name, arguments);
    if (broken) fprintf(stderr, "the stand-in for CUDA has no kernel %s\n", name);
    return alive();
}

int __cudaGetKernel(void **out, const void *stub) {
    *out = (void *)name_of(stub);
    return OK;
}

int __cudaLaunchKernel(void *kernel, Size grid, Size block, void **arguments, size_t shared_memory, void *stream) {
    (void)grid, (void)block, (void)shared_memory, (void)stream;
    return launch(kernel, arguments);
}

int cudaLaunchKernel(const void *stub, Size grid, Size block, void **arguments, size_t shared_memory, void *stream) {
    (void)grid, (void)block, (void)shared_memory, (void)stream;
    return launch(name_of(stub), arguments);
}

int cudaFuncSetAttribute(const void *stub, int attribute, int value) {
    return (void)stub, (void)attribute, (void)value, OK;
}

int cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned of, unsigned long long flags, int *status) {
    (void)name, (void)of, (void)flags;
    *out = NULL;
    if (status) *status = 1;
    return OK;
}

UNUSED(cudaEventElapsedTime)
UNUSED(cudaEventRecordWithFlags)
UNUSED(cudaFreeAsync)
UNUSED(cudaFuncGetAttributes)
UNUSED(cudaGraphDestroy)
UNUSED(cudaGraphExecDestroy)
UNUSED(cudaGraphInstantiate)
UNUSED(cudaGraphLaunch)
UNUSED(cudaKernelSetAttributeForDevice)
UNUSED(cudaLaunchCooperativeKernel)
UNUSED(cudaLaunchKernelExC)
UNUSED(cudaLibraryGetKernel)
UNUSED(cudaLibraryLoadData)
UNUSED(cudaLibraryUnload)
UNUSED(cudaMallocFromPoolAsync)
UNUSED(cudaMemPoolCreate)
UNUSED(cudaMemPoolDestroy)
UNUSED(cudaMemPoolGetAttribute)
UNUSED(cudaMemPoolSetAttribute)
UNUSED(cudaMemPoolTrimTo)
UNUSED(cudaMemcpy2DAsync)
UNUSED(cudaMemcpyFromSymbol)
UNUSED(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
UNUSED(cudaPointerGetAttributes)
UNUSED(cudaStreamBeginCapture)
UNUSED(cudaStreamEndCapture)

/* What the parts of the stand-in share; `runtime.c` says what it is. */

#ifndef STANDIN_H
#define STANDIN_H

/* CUDA's numbers for what went wrong. */
enum {
    OK = 0,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
};

/* Does what the kernel of this mangled name would do. */
int run_kernel(const char *name, void **arguments);

#endif

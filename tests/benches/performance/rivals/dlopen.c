/* What the dynamic linker alone takes to load a driver: prints the nanoseconds of dlopen, dlsym and the call of the root symbol. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 64;
    }
    uint64_t start = now();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    const void *(*entry)(void) = library ? (const void *(*)(void))dlsym(library, "capstan_driver_epoch_1") : NULL;
    if (entry == NULL || entry() == NULL) {
        return 1;
    }
    printf("%llu\n", (unsigned long long)(now() - start));
    return 0;
}

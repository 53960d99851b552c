/* The boundary of epoch 1, as far as the tests need it. */
#include <stddef.h>
#include <stdint.h>

#define MAGIC 0x314e415453504143ull /* CAPSTAN1, little endian */

typedef struct { const uint8_t *data; size_t len; } bytes;
typedef struct { uint8_t *data; size_t len; void (*free)(uint8_t *, size_t); } buffer;
typedef struct { uint32_t status, reserved; buffer body; } reply;
typedef struct {
    uint64_t magic; uint32_t epoch, size; void *context;
    reply (*call)(void *, uint64_t, bytes, bytes);
    void (*log)(void *, uint64_t, uint32_t, bytes, bytes, bytes);
    uint32_t (*cancelled)(void *, uint64_t);
} host_table;
typedef struct {
    uint64_t magic; uint32_t epoch, size;
    bytes (*describe)(void);
    reply (*open)(const host_table *, bytes, void **);
    reply (*invoke)(void *, uint64_t, bytes, bytes);
    void (*cancel)(void *, uint64_t);
    reply (*health)(void *);
    void (*close)(void *);
} driver_table;

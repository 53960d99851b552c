/* The least that a plugin in a process of its own costs: reads SIZE bytes from standard input, writes them back, until the end
 * of its input. No protocol, no JSON. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char bytes[65536];
    size_t size = argc == 2 ? (size_t)atoi(argv[1]) : 0;
    if (size == 0 || size > sizeof bytes) {
        return 64;
    }
    for (;;) {
        for (size_t had = 0; had < size;) {
            ssize_t got = read(0, bytes + had, size - had);
            if (got <= 0) {
                return 0;
            }
            had += (size_t)got;
        }
        if (write(1, bytes, size) != (ssize_t)size) {
            return 1;
        }
    }
}

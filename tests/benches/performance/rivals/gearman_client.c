/* A plain libgearman client: jobs one after the other in each thread, each awaited to its end, or in the background until the
 * server has taken it on.
 * gearman_client HOST PORT FUNCTION PAYLOAD-FILE THREADS WARM-UP JOBS foreground|background
 * (warm-up and jobs per thread). Prints "elapsed NANOSECONDS", then one line of nanoseconds for each job. Ends with 1 at the
 * first job that fails or answers nothing: without a server libgearman fails 140,000 jobs in a second. */
#include <libgearman/gearman.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *host, *function;
static int port, warm_up, jobs, in_background;
static char *payload;
static size_t payload_size;
static pthread_barrier_t begin;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void run(gearman_client_st *client)
{
    gearman_return_t outcome;
    size_t size = 0;
    if (in_background) {
        gearman_job_handle_t handle;
        outcome = gearman_client_do_background(client, function, NULL, payload, payload_size, handle);
        if (gearman_failed(outcome)) {
            fprintf(stderr, "a job was not taken on: %s %s\n", gearman_strerror(outcome), gearman_client_error(client));
            exit(1);
        }
        return;
    }
    void *answer = gearman_client_do(client, function, NULL, payload, payload_size, &size, &outcome);
    if (gearman_failed(outcome) || size == 0) {
        fprintf(stderr, "a job failed: %s %s\n", gearman_strerror(outcome), gearman_client_error(client));
        exit(1);
    }
    free(answer);
}

static void *caller(void *argument)
{
    uint64_t *times = argument;
    gearman_client_st *client = gearman_client_create(NULL);
    if (client == NULL || gearman_failed(gearman_client_add_server(client, host, port))) {
        exit(1);
    }
    gearman_client_set_timeout(client, 20000);
    for (int i = 0; i < warm_up; i++) {
        run(client);
    }
    pthread_barrier_wait(&begin);
    for (int i = 0; i < jobs; i++) {
        uint64_t start = now();
        run(client);
        times[i] = now() - start;
    }
    gearman_client_free(client);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        return 64;
    }
    host = argv[1];
    port = atoi(argv[2]);
    function = argv[3];
    int threads = atoi(argv[5]);
    warm_up = atoi(argv[6]);
    jobs = atoi(argv[7]);
    in_background = strcmp(argv[8], "background") == 0;

    FILE *file = fopen(argv[4], "rb");
    if (file == NULL || threads < 1 || threads > 256 || jobs < 1) {
        return 64;
    }
    payload = malloc(1 << 20);
    payload_size = fread(payload, 1, 1 << 20, file);
    fclose(file);

    uint64_t *times = calloc((size_t)threads * (size_t)jobs, sizeof *times);
    pthread_t callers[256];
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        pthread_create(&callers[i], NULL, caller, times + (size_t)i * (size_t)jobs);
    }
    pthread_barrier_wait(&begin);
    uint64_t start = now();
    for (int i = 0; i < threads; i++) {
        pthread_join(callers[i], NULL);
    }
    printf("elapsed %llu\n", (unsigned long long)(now() - start));
    for (size_t i = 0; i < (size_t)threads * (size_t)jobs; i++) {
        printf("%llu\n", (unsigned long long)times[i]);
    }
    return 0;
}

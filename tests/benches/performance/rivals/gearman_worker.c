/* A plain libgearman worker that answers with its payload: gearman_worker HOST PORT FUNCTION. Runs until it is killed. */
#include <libgearman/gearman.h>
#include <stdlib.h>
#include <string.h>

static void *echo(gearman_job_st *job, void *context, size_t *size, gearman_return_t *outcome)
{
    (void)context;
    *size = gearman_job_workload_size(job);
    void *answer = malloc(*size > 0 ? *size : 1);
    memcpy(answer, gearman_job_workload(job), *size);
    *outcome = GEARMAN_SUCCESS;
    return answer;
}

int main(int argc, char **argv)
{
    gearman_worker_st *worker = gearman_worker_create(NULL);
    if (argc != 4 || worker == NULL || gearman_failed(gearman_worker_add_server(worker, argv[1], atoi(argv[2])))
        || gearman_failed(gearman_worker_add_function(worker, argv[3], 0, echo, NULL))) {
        return 64;
    }
    for (;;) {
        gearman_worker_work(worker);
    }
}

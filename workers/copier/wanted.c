#include "workers/copier/wanted.h"

/* What was seen a minute ago counts half. */
static const double kept_per_look = 0.89;

void wanted_look(struct wanted *wanted, const struct engine_load *load)
{
    double jobs = (double)(load->done_count - wanted->last.done_count);
    double busy_ms = (double)(load->busy_ms - wanted->last.busy_ms);
    if (jobs == 0) {
        return; /* an idle time says nothing about speed; the time of a job that goes on counts when it has ended */
    }
    wanted->last = *load;
    wanted->jobs = kept_per_look * wanted->jobs + jobs;
    wanted->busy_ms = kept_per_look * wanted->busy_ms + busy_ms;
}

/* A slot is one job at a time: it clears target / (time per job) of them. */
double wanted_copiers(const struct wanted *wanted, const struct engine_load *load, int64_t target_ms)
{
    double jobs = wanted->jobs + (double)(load->done_count - wanted->last.done_count);
    double busy_ms = wanted->busy_ms + (double)(load->busy_ms - wanted->last.busy_ms);
    if (load->open_count == 0) {
        return 0;
    }
    if (jobs == 0) {
        return -1;
    }
    return (double)load->open_count * (busy_ms / jobs) / (double)load->slots / (double)target_ms;
}

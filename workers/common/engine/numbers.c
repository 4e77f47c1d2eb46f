#include "workers/common/engine/numbers.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/intake.h"
#include "workers/common/engine/partition.h"
#include "workers/common/engine/status.h"
#include "workers/common/http/http.h"
#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/round_trip.h"

#include <inttypes.h>
#include <stdio.h>

struct named_number {
    const char *name;
    double number;
};

/* The samples of one metric that differ in one label. */
static void write_by(const struct engine *engine, struct buffer *text, const char *name, const char *label,
                     const struct named_number *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        metric_sample(text, name, numbers[i].number, "role", engine->worker->name, label, numbers[i].name, NULL);
    }
}

static void write_one(const struct engine *engine, struct buffer *text, const char *name, enum metric_type type,
                      const char *help, double number)
{
    metric_write(text, name, type, help, number, "role", engine->worker->name, NULL);
}

static void write_jobs(const struct engine *engine, struct buffer *text)
{
    const struct engine_counts *counts = &engine->counts;
    const struct named_number results[] = {
        {"ok", (double)counts->ended[JOB_OK]},         {"skipped", (double)counts->ended[JOB_SKIPPED]},
        {"failed", (double)counts->ended[JOB_FAILED]}, {"dead", (double)counts->rejected},
        {"cancelled", (double)counts->cancelled},
    };
    const struct named_number reasons[] = {
        {"unreadable", (double)(counts->rejected - counts->deadly)},
        {"deadly", (double)counts->deadly},
    };
    metric_begin(text, "jobs_total", METRIC_COUNTER,
                 "Messages by what became of their work; cancelled ones are done again, here or elsewhere.");
    write_by(engine, text, "jobs_total", "result", results, sizeof(results) / sizeof(results[0]));
    metric_begin(text, "dead_letters_total", METRIC_COUNTER, "Messages put aside; deadly: whoever took it vanished.");
    write_by(engine, text, "dead_letters_total", "reason", reasons, sizeof(reasons) / sizeof(reasons[0]));
    metric_begin(text, "job_duration_seconds", METRIC_HISTOGRAM, "From when a message was taken until its work ended.");
    histogram_write(text, "job_duration_seconds", &counts->lasted, "role", engine->worker->name);
    metric_begin(text, "job_queue_seconds", METRIC_HISTOGRAM, "From when a message was written until it was taken.");
    histogram_write(text, "job_queue_seconds", &counts->queued, "role", engine->worker->name);
    write_one(engine, text, "jobs_taken_total", METRIC_COUNTER, "Times work was begun, repetitions included.",
              (double)counts->taken);
    write_one(engine, text, "job_retries_total", METRIC_COUNTER, "Times work was put off to be tried again.",
              (double)counts->retried);
    write_one(engine, text, "jobs_settled_total", METRIC_COUNTER, "Messages whose outputs and offset are committed.",
              (double)counts->settled);
    write_one(engine, text, "jobs_known_total", METRIC_COUNTER, "Messages read again that were settled before.",
              (double)counts->known);
    write_one(engine, text, "slow_jobs_total", METRIC_COUNTER, "Work that took a minute or more.",
              (double)counts->slow);
}

static void write_memory(const struct engine *engine, struct buffer *text)
{
    size_t free_slots = engine->max_running > engine->running_count ? engine->max_running - engine->running_count : 0;
    const struct named_number slots[] = {{"used", (double)engine->running_count}, {"free", (double)free_slots}};
    metric_begin(text, "slots", METRIC_GAUGE, "Messages that may be worked on at once.");
    write_by(engine, text, "slots", "state", slots, sizeof(slots) / sizeof(slots[0]));
    write_one(engine, text, "inflight", METRIC_GAUGE, "Messages in memory.", (double)engine->held_count);
    write_one(engine, text, "inflight_bytes", METRIC_GAUGE, "Their bytes.", (double)engine->held_bytes);
    write_one(engine, text, "output_bytes", METRIC_GAUGE, "Bytes that wait for their commit.",
              (double)engine->output_bytes);
}

static void write_group(const struct engine *engine, struct buffer *text)
{
    const struct engine_counts *counts = &engine->counts;
    const struct named_number partings[] = {
        {"idle", (double)counts->partings[PARTING_IDLE]},
        {"drained", (double)counts->partings[PARTING_DRAINED]},
        {"timeout", (double)counts->partings[PARTING_TIMED_OUT]},
        {"lost", (double)counts->partings[PARTING_LOST]},
    };
    metric_begin(text, "rebalances_total", METRIC_COUNTER, "Times the group took partitions away, and how they went.");
    write_by(engine, text, "rebalances_total", "status", partings, sizeof(partings) / sizeof(partings[0]));
    write_one(engine, text, "assignments_total", METRIC_COUNTER, "Times the group gave partitions.",
              (double)counts->assignments);
    write_one(engine, text, "memberships_total", METRIC_COUNTER, "Times the group was joined.",
              (double)counts->memberships);
    write_one(engine, text, "ready", METRIC_GAUGE, "1 when a member of the group that takes work.",
              status_why_not_ready(engine) == NULL);
    write_one(engine, text, "stopped", METRIC_GAUGE, "1 when nearly all messages were put aside: nothing is taken.",
              engine->valve.is_closed);
    write_one(engine, text, "commits_total", METRIC_COUNTER, "Transactions committed.", (double)counts->commits);
    write_one(engine, text, "aborts_total", METRIC_COUNTER, "Transactions aborted and sent again.",
              (double)counts->aborts);
    metric_begin(text, "commit_seconds", METRIC_HISTOGRAM, "From a transaction's beginning until it is committed.");
    histogram_write(text, "commit_seconds", &counts->commit, "role", engine->worker->name);
}

static void write_http(const struct engine *engine, struct buffer *text)
{
    struct http_statistics http;
    http_statistics_read(loop_http(engine->loop), &http);
    write_one(engine, text, "http_requests_active", METRIC_GAUGE, "Requests under way.", (double)http.active);
    write_one(engine, text, "http_requests_queued", METRIC_GAUGE, "Requests that wait for their turn.",
              (double)http.queued);
    write_one(engine, text, "http_connections_total", METRIC_COUNTER, "Connections opened.", (double)http.connections);
    write_one(engine, text, "http_failures_total", METRIC_COUNTER, "Requests that ended without an answer.",
              (double)http.failures);
}

static void write_phases(const struct engine *engine, struct buffer *text)
{
    static const char *const names[LOOP_COUNT] = {
        [LOOP_WAIT] = "wait",   [LOOP_PROCESS] = "process", [LOOP_POLL] = "poll",
        [LOOP_START] = "start", [LOOP_SETTLE] = "settle",
    };
    metric_begin(text, "loop_seconds_total", METRIC_COUNTER, "What the loop's time goes into.");
    for (int phase = 0; phase < LOOP_COUNT; phase++) {
        metric_sample(text, "loop_seconds_total", (double)engine->counts.phase_us[phase] / 1e6, "role",
                      engine->worker->name, "phase", names[phase], NULL);
    }
}

/* --- partitions --- */

static int64_t partition_open_count(const struct engine *engine, const struct partition *partition)
{
    int64_t point = ledger_commit_point(&partition->ledger);
    int64_t end = engine->consumer != NULL ? consumer_end_offset(engine->consumer, partition->number) : -1;
    return point >= 0 && end > point ? end - point : 0;
}

void engine_load(const struct engine *engine, struct engine_load *ret_load)
{
    *ret_load = (struct engine_load){
        .done_count = histogram_count(&engine->counts.lasted),
        .busy_ms = engine->counts.busy_us / 1000,
        .slots = engine->max_running,
    };
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        ret_load->open_count += partition->is_gone ? 0 : partition_open_count(engine, partition);
    }
}

static size_t paused_count(const struct engine *engine)
{
    size_t paused = 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        paused += !partition->is_gone && !intake_may_read(engine, partition) ? 1 : 0;
    }
    return paused;
}

static double partition_lag(const struct engine *engine, const struct partition *partition)
{
    return (double)partition_open_count(engine, partition);
}

static double partition_incomplete(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    return (double)partition->ledger.count;
}

static double partition_map_bytes(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    return (double)partition->map_bytes;
}

static double partition_watermark(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    int64_t point = ledger_commit_point(&partition->ledger);
    return point > 0 ? (double)point : 0;
}

static double partition_oldest_seconds(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    const struct task *oldest = partition->ledger.count > 0 ? ledger_at(&partition->ledger, 0)->task : NULL;
    return oldest != NULL && oldest->attempt > 0 ? (double)(clock_monotonic_ms() - oldest->taken_at_ms) / 1000 : 0;
}

static double partition_is_held_up(const struct engine *engine, const struct partition *partition)
{
    return status_held_up_by(engine, partition) != NULL;
}

static void write_partitions(const struct engine *engine, struct buffer *text)
{
    static const struct {
        const char *name;
        const char *help;
        double (*read)(const struct engine *engine, const struct partition *partition);
    } gauges[] = {
        {"consumer_lag", "Messages that are not settled, as of the last fetch.", partition_lag},
        {"partition_incomplete_offsets", "Messages read from the oldest unsettled one on.", partition_incomplete},
        {"partition_watermark", "Offset of the oldest unsettled message.", partition_watermark},
        {"offset_map_bytes", "Length of the last commit's map of finished work.", partition_map_bytes},
        {"partition_oldest_seconds", "Time since the oldest message was first taken.", partition_oldest_seconds},
        {"partition_held_up", "1 when that message keeps the partition from being read on.", partition_is_held_up},
    };
    write_one(engine, text, "partitions_paused", METRIC_GAUGE,
              "Partitions that are not read now: enough to do, no room, held up, or on their way out.",
              (double)paused_count(engine));
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        metric_begin(text, gauges[i].name, METRIC_GAUGE, gauges[i].help);
        for (size_t k = 0; k < engine->partition_count; k++) {
            const struct partition *partition = engine->partitions[k];
            if (!partition->is_gone) {
                char number[16];
                (void)snprintf(number, sizeof(number), "%" PRId32, partition->number);
                metric_sample(text, gauges[i].name, gauges[i].read(engine, partition), "role", engine->worker->name,
                              "partition", number, NULL);
            }
        }
    }
}

void numbers_write(const struct engine *engine, struct buffer *text)
{
    write_jobs(engine, text);
    write_memory(engine, text);
    write_group(engine, text);
    write_http(engine, text);
    write_phases(engine, text);
    round_trip_write(text);
    write_partitions(engine, text);
    if (engine->worker->write_metrics != NULL && engine->state != NULL) {
        engine->worker->write_metrics(engine->state, text);
    }
}

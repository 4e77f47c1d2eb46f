#include "workers/common/base/metric.h"

#include "workers/common/base/auto.h"

#include <stdarg.h>
#include <stdio.h>

static const double bucket_ends_s[HISTOGRAM_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                        2.5,   5,    10,    30,   60,  300,  900, 3600};

void metric_begin(struct buffer *text, const char *name, enum metric_type type, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    buffer_append_format(text, "# HELP tagfleet_%s %s\n# TYPE tagfleet_%s %s\n", name, help, name, types[type]);
}

static void append_value(struct buffer *text, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            buffer_append_text(text, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\') {
            buffer_append_char(text, '\\');
        }
        buffer_append_char(text, *value);
    }
}

static void append_labels(struct buffer *text, va_list *labels)
{
    char before = '{';
    for (const char *name; (name = va_arg(*labels, const char *)) != NULL; before = ',') {
        buffer_append_format(text, "%c%s=\"", before, name);
        append_value(text, va_arg(*labels, const char *));
        buffer_append_char(text, '"');
    }
    buffer_append_text(text, before == ',' ? "}" : "");
}

static void append_sample(struct buffer *text, const char *name, double value, va_list *labels)
{
    buffer_append_format(text, "tagfleet_%s", name);
    append_labels(text, labels);
    buffer_append_format(text, " %.15g\n", value);
}

void metric_sample(struct buffer *text, const char *name, double value, ...)
{
    va_list labels;
    va_start(labels, value);
    append_sample(text, name, value, &labels);
    va_end(labels);
}

void metric_write(struct buffer *text, const char *name, enum metric_type type, const char *help, double value, ...)
{
    va_list labels;
    va_start(labels, value);
    metric_begin(text, name, type, help);
    append_sample(text, name, value, &labels);
    va_end(labels);
}

void histogram_add(struct histogram *histogram, int64_t duration_ms)
{
    int64_t ms = duration_ms > 0 ? duration_ms : 0;
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && (double)ms > 1000 * bucket_ends_s[bucket]) {
        bucket++;
    }
    histogram->counts[bucket]++;
    histogram->sum_ms += ms;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        count += histogram->counts[i];
    }
    return count;
}

void histogram_write(struct buffer *text, const char *name, const struct histogram *histogram, const char *label,
                     const char *value)
{
    AUTO(text) char *buckets = text_format("%s_bucket", name);
    AUTO(text) char *sum = text_format("%s_sum", name);
    AUTO(text) char *count = text_format("%s_count", name);
    uint64_t so_far = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        char end[32] = "+Inf";
        if (i < HISTOGRAM_BUCKETS) {
            (void)snprintf(end, sizeof(end), "%g", bucket_ends_s[i]);
        }
        so_far += histogram->counts[i];
        metric_sample(text, buckets, (double)so_far, "le", end, label, value, NULL);
    }
    metric_sample(text, sum, (double)histogram->sum_ms / 1000, label, value, NULL);
    metric_sample(text, count, (double)so_far, label, value, NULL);
}

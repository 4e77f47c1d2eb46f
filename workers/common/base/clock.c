#include "workers/common/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_read_ms(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_monotonic_ms(void)
{
    /* Unlike CLOCK_MONOTONIC it goes on while the machine sleeps, as the broker's does. */
    return clock_read_ms(CLOCK_BOOTTIME);
}

int64_t clock_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    return clock_read_ms(CLOCK_REALTIME);
}

/* What clock_format can write: 9999-12-31T23:59:59.999Z. */
static const int64_t wall_maximum_ms = 253402300799999;

void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_SIZE])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    if (wall_ms < 0 || wall_ms > wall_maximum_ms || gmtime_r(&seconds, &parts) == NULL) {
        (void)snprintf(ret_text, CLOCK_TEXT_SIZE, "1970-01-01T00:00:00.000Z");
        return;
    }
    size_t length = strftime(ret_text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(ret_text + length, CLOCK_TEXT_SIZE - length, ".%03dZ", (int)(wall_ms % 1000));
}

/* Exactly count digits. */
static bool digits_read(const char **cursor, int count, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < count; i++, (*cursor)++) {
        if (!isdigit((unsigned char)**cursor)) {
            return false;
        }
        value = value * 10 + (**cursor - '0');
    }
    *ret_value = value;
    return true;
}

static bool literal_read(const char **cursor, const char *accepted)
{
    if (**cursor == '\0' || strchr(accepted, **cursor) == NULL) {
        return false;
    }
    (*cursor)++;
    return true;
}

/* At least one digit; what is finer than milliseconds is cut. */
static bool fraction_read(const char **cursor, int *ret_ms)
{
    bool has_digit = isdigit((unsigned char)**cursor);
    int ms = 0;
    int scale = 100;
    for (; isdigit((unsigned char)**cursor); (*cursor)++, scale /= 10) {
        ms += (**cursor - '0') * scale;
    }
    *ret_ms = ms;
    return has_digit;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap ? 1 : 0);
}

static bool offset_read(const char **cursor, int *ret_minutes)
{
    if (literal_read(cursor, "Zz")) {
        *ret_minutes = 0;
        return true;
    }
    int sign = **cursor == '-' ? -1 : 1;
    int hours;
    int minutes;
    if (!literal_read(cursor, "+-") || !digits_read(cursor, 2, &hours) || !literal_read(cursor, ":") ||
        !digits_read(cursor, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

bool clock_parse(const char *text, int64_t *ret_wall_ms)
{
    const char *cursor = text;
    struct tm parts = {0};
    if (!digits_read(&cursor, 4, &parts.tm_year) || !literal_read(&cursor, "-") ||
        !digits_read(&cursor, 2, &parts.tm_mon) || !literal_read(&cursor, "-") ||
        !digits_read(&cursor, 2, &parts.tm_mday) || !literal_read(&cursor, "Tt ") ||
        !digits_read(&cursor, 2, &parts.tm_hour) || !literal_read(&cursor, ":") ||
        !digits_read(&cursor, 2, &parts.tm_min) || !literal_read(&cursor, ":") ||
        !digits_read(&cursor, 2, &parts.tm_sec)) {
        return false;
    }
    int ms = 0;
    int offset_minutes;
    if ((literal_read(&cursor, ".") && !fraction_read(&cursor, &ms)) || !offset_read(&cursor, &offset_minutes) ||
        *cursor != '\0' || parts.tm_year < 1970 || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > days_in_month(parts.tm_year, parts.tm_mon) || parts.tm_hour > 23 || parts.tm_min > 59 ||
        parts.tm_sec > 60) {
        return false;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    int64_t wall_ms = ((int64_t)timegm(&parts) - (int64_t)offset_minutes * 60) * 1000 + ms;
    if (wall_ms < 0 || wall_ms > wall_maximum_ms) {
        return false;
    }
    *ret_wall_ms = wall_ms;
    return true;
}

bool duration_parse(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *unit;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    int64_t number = strtoll(text, &unit, 10);
    if (errno != 0) {
        return false;
    }
    while (*unit == ' ') {
        unit++;
    }
    if (number == 0 && *unit == '\0') {
        *ret_ms = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].unit) == 0 && number <= INT64_MAX / units[i].ms) {
            *ret_ms = number * units[i].ms;
            return true;
        }
    }
    return false;
}

int64_t backoff_ms(unsigned attempt, int64_t base_ms, int64_t maximum_ms)
{
    int64_t ceiling = maximum_ms;
    if (attempt < 32 && base_ms < maximum_ms >> attempt) {
        ceiling = base_ms << attempt;
    }
    if (ceiling <= 1) {
        return 1;
    }
    /* arc4random-like quality is not needed; the seed differs between processes. */
    static __thread unsigned seed;
    if (seed == 0) {
        seed = (unsigned)clock_read_ms(CLOCK_REALTIME) ^ ((unsigned)getpid() << 16) ^ 1U;
    }
    return 1 + (int64_t)((double)rand_r(&seed) / ((double)RAND_MAX + 1.0) * (double)ceiling);
}

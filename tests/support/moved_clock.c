#include "tests/support/moved_clock.h"

#include "workers/common/base/clock.h"

#include <stdbool.h>

int64_t __real_clock_monotonic_ms(void);
int64_t __real_clock_wall_ms(void);
int64_t __wrap_clock_monotonic_ms(void);
int64_t __wrap_clock_wall_ms(void);

struct hand {
    int64_t moved_ms;
    int64_t stood_ms; /* where the real clock was when it stopped */
};

static struct hand monotonic;
static struct hand wall;
static bool is_standing;

int64_t __wrap_clock_monotonic_ms(void)
{
    return (is_standing ? monotonic.stood_ms : __real_clock_monotonic_ms()) + monotonic.moved_ms;
}

int64_t __wrap_clock_wall_ms(void)
{
    return (is_standing ? wall.stood_ms : __real_clock_wall_ms()) + wall.moved_ms;
}

void moved_clock_by(int64_t duration_ms)
{
    monotonic.moved_ms += duration_ms;
    wall.moved_ms += duration_ms;
}

void moved_clock_set_wall(int64_t wall_ms)
{
    wall.moved_ms += wall_ms - clock_wall_ms();
}

void moved_clock_stand(void)
{
    monotonic.stood_ms = __real_clock_monotonic_ms();
    wall.stood_ms = __real_clock_wall_ms();
    is_standing = true;
}

void moved_clock_reset(void)
{
    monotonic = (struct hand){0};
    wall = (struct hand){0};
    is_standing = false;
}

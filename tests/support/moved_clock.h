/*
 * The clock of a test. It goes as the real one until the test moves it or makes it stand still, so that hours pass in
 * no time and nothing depends on how fast the machine is. It takes the place of base/clock.h's two functions at link
 * time. For one thread; a test that touches it puts it right again at its end.
 */
#pragma once

#include <stdint.h>

void moved_clock_by(int64_t duration_ms); /* both clocks */
void moved_clock_set_wall(int64_t wall_ms);
void moved_clock_stand(void); /* from now on only moved_clock_by moves it */
void moved_clock_reset(void);

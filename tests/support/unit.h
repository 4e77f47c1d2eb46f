/*
 * cmocka, with the headers that it needs before it, and what every test uses.
 */
#pragma once

#include "workers/common/base/auto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/*
 * What a worker calls (worker.h) is in task.c; this is what others in the engine do to a task.
 */
#pragma once

#include <stdbool.h>

struct task;

/* Ends whatever the worker does for the task; afterwards it only waits. True: there was something to end. */
bool task_stop(struct task *task);

/* The broker has confirmed what task_confirm asks. */
void task_confirm_answered(struct task *task);

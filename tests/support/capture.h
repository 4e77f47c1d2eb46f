/*
 * What a function prints: a descriptor (1 or 2) is led into a file meanwhile.
 */
#pragma once

struct capture {
    int descriptor;
    int saved;
    int file;
};

void capture_start(struct capture *capture, int descriptor);

/* Puts the descriptor back and returns what was written to it. The caller frees the text. */
char *capture_end(struct capture *capture);

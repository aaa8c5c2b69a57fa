// A library function that leaks, as many do: it draws a label of 1,000 bytes and never frees it.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { LABEL_BYTES = 1000, STROKES = 4 };

// The checksum of the label; 0 if there is no memory for it. Several threads may call this at once.
uint64_t leaky_render_label(uint64_t seed) {
    uint8_t *label = malloc(LABEL_BYTES);
    if (label == NULL) return 0;
    for (size_t at = 0; at < LABEL_BYTES; at++) label[at] = (uint8_t)(at + seed);
    uint64_t checksum = seed;
    for (int stroke = 0; stroke < STROKES; stroke++) {
        for (size_t at = 0; at < LABEL_BYTES; at++) {
            checksum = (checksum ^ label[at]) * UINT64_C(0x100000001b3);
            label[at] = (uint8_t)(checksum >> 32);
        }
    }
    // Here free(label) is missing.
    return checksum;
}

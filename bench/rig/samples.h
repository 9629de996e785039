/* Measured times, kept whole: a percentile of a histogram would be its bucket's edge. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t *values; /* ns */
    size_t count, cap;
} samples;

void samples_add(samples *s, int64_t value);

/* Prints `,"NAME":{"p50":…}` in µs; an empty object where nothing was measured. */
void samples_print(const char *name, samples *s);

#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

void samples_add(samples *s, int64_t value) {
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 65536;
        s->values = realloc(s->values, s->cap * sizeof *s->values);
    }
    s->values[s->count++] = value;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void samples_print(const char *name, samples *s) {
    if (s->count) qsort(s->values, s->count, sizeof *s->values, by_value);
    printf(",\"%s\":{", name);
    static const struct { const char *name; double share; } shown[] = {
        {"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown && s->count; i++) {
        size_t place = s->count * shown[i].share;
        if (place >= s->count) place = s->count - 1;
        printf("%s\"%s\":%.1f", i ? "," : "", shown[i].name, s->values[place] / 1000.0);
    }
    printf("}");
}

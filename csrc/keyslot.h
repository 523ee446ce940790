/* The hash slot of a key. No Python. */
#ifndef AR_KEYSLOT_H
#define AR_KEYSLOT_H

#include <stddef.h>
#include <stdint.h>

#define AR_SLOTS 16384

/* Of what stands between the first { and the next }, if anything does; of the whole key otherwise. */
unsigned ar_keyslot(const char *key, size_t length);

#endif

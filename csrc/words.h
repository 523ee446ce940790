/* Names of commands and options as words. */
#ifndef AR_WORDS_H
#define AR_WORDS_H

#include "compat.h"

/* Room for a command's name of one or two words, in upper case and with its end. */
#define AR_WORDS_MAX 32

/* The bytes of a str or bytes argument, or NULL: it is neither. */
const char *ar_word_text(PyObject *argument, Py_ssize_t *size);
/* As bytes.split() sees it. */
static inline int
ar_word_is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* The next word from *at on, as a name is split when it is encoded; its size is 0 at the end. */
const char *ar_word_next(const char **at, const char *end, Py_ssize_t *size);
/* Appends to a name of AR_WORDS_MAX, in upper case; -1 when it does not fit, or is no text. */
int ar_word_append(char *name, size_t *length, const char *text, Py_ssize_t size);
int ar_word_append_argument(char *name, size_t *length, PyObject *argument);

#endif

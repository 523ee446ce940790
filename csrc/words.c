/* What the user gave as a name is looked at as it is, without a copy. */
#include "words.h"

const char *
ar_word_text(PyObject *argument, Py_ssize_t *size)
{
    if (PyUnicode_Check(argument)) {
        const char *text = PyUnicode_AsUTF8AndSize(argument, size);
        if (text == NULL) {
            PyErr_Clear();
        }
        return text;
    }
    if (PyBytes_Check(argument)) {
        *size = PyBytes_GET_SIZE(argument);
        return PyBytes_AS_STRING(argument);
    }
    return NULL;
}

int
ar_word_append(char *name, size_t *length, const char *text, Py_ssize_t size)
{
    if (*length + (size_t)size >= AR_WORDS_MAX) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        name[(*length)++] = (char)Py_TOUPPER((unsigned char)text[i]);
    }
    name[*length] = '\0';
    return 0;
}

int
ar_word_append_argument(char *name, size_t *length, PyObject *argument)
{
    Py_ssize_t size;
    const char *text = ar_word_text(argument, &size);
    return text != NULL ? ar_word_append(name, length, text, size) : -1;
}

const char *
ar_word_next(const char **at, const char *end, Py_ssize_t *size)
{
    while (*at < end && ar_word_is_space(**at)) {
        ++*at;
    }
    const char *word = *at;
    while (*at < end && !ar_word_is_space(**at)) {
        ++*at;
    }
    *size = *at - word;
    return word;
}

/* What the fuzzers share: an interpreter, a module state with stand-ins for redis-py's classes, a look for leaks, and
 * what libFuzzer calls. Included once into each of them, which defines once(). */
#ifndef AR_FUZZ_HARNESS_H
#define AR_FUZZ_HARNESS_H

#include "encode.h"
#include "outq.h"
#include "reply.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern Py_ssize_t _Py_GetAllocatedBlocks(void);

/* Two bits of the first byte, which has a fuzzer's options: costly, so not each time. */
enum { LOOK_FOR_LEAKS = 12 };

static ar_state harness_state;

/* Tries one input, of a byte at least. */
static void once(const uint8_t *data, size_t size);

static void
harness_fail(const char *what)
{
    fprintf(stderr, "fuzz: %s\n", what);
    if (PyErr_Occurred()) {
        PyErr_Print();
    }
    abort();
}

static PyObject *
harness_need(PyObject *object)
{
    if (object == NULL) {
        harness_fail("no object");
    }
    return object;
}

/* By an interned name: any other stays behind in the cache of types. */
static inline PyObject *
harness_split(PyObject *text)
{
    static PyObject *method;
    if (method == NULL) {
        method = harness_need(PyUnicode_InternFromString("split"));
    }
    return harness_need(PyObject_CallMethodObjArgs(text, method, NULL));
}

static void
harness_start(void)
{
    Py_Initialize();
#define CLASS(name) harness_state.name = harness_need(PyErr_NewException("fuzz." #name, NULL, NULL))
    CLASS(ConnectionError);
    CLASS(CommandTimeoutError);
    CLASS(CircuitOpenError);
    CLASS(OutcomeUnknownError);
    CLASS(DataError);
    CLASS(InvalidResponse);
    CLASS(AuthenticationError);
#undef CLASS
    harness_state.bytes_ok = harness_need(PyBytes_FromString("OK"));
    harness_state.str_ok = harness_need(PyUnicode_InternFromString("OK"));
    harness_state.bytes_queued = harness_need(PyBytes_FromString("QUEUED"));
    harness_state.str_queued = harness_need(PyUnicode_InternFromString("QUEUED"));
    PyObject *globals = harness_need(PyDict_New());
    harness_state.parse_error = harness_need(PyRun_String(
        "lambda text: __import__('builtins').LookupError(text)", Py_eval_input, globals, globals));
    Py_DECREF(globals);
}

/* What goes to a cache does so once: each of several runs has to leave something behind. */
static void
harness_check_leaks(const uint8_t *data, size_t size)
{
    once(data, size);
    for (int i = 0; i < 4; i++) {
        Py_ssize_t before = _Py_GetAllocatedBlocks();
        once(data, size);
        if (_Py_GetAllocatedBlocks() <= before) {
            return;
        }
    }
    harness_fail("every run leaves blocks behind");
}

int
LLVMFuzzerInitialize(int *Py_UNUSED(argc), char ***Py_UNUSED(argv))
{
    harness_start();
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    if ((data[0] & LOOK_FOR_LEAKS) == LOOK_FOR_LEAKS) {
        harness_check_leaks(data, size);
    } else {
        once(data, size);
    }
    return 0;
}

#endif

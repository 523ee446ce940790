/* It polls for a few times as long as it usually takes, and less and less often while nothing comes: where
 * the server is far away, busy, or shares the only core with us, what is lost is next to nothing. */
#include "busypoll.h"

#include <poll.h>

/* Of the usual time. */
#define PATIENCE 4
/* Seconds: asking the kernel twice. */
#define SHORTEST 2e-6
#define PAUSE_MAX 1024
/* One new value is so much of the average. */
#define WEIGHT 0.125

/* ---- asyncio's own ---- */

/* Its private attributes; `fileno()` is there with epoll and kqueue. */
static int
find_selector(ar_busypoll *self, PyObject *loop)
{
    PyObject *selector = PyObject_GetAttrString(loop, "_selector");
    PyObject *number = selector != NULL ? PyObject_CallMethod(selector, "fileno", NULL) : NULL;
    Py_XDECREF(selector);
    if (number == NULL) {
        return -1;
    }
    int fd = PyLong_Check(number) ? (int)PyLong_AsLong(number) : -1;
    Py_DECREF(number);
    if (PyErr_Occurred()) {
        return -1;
    }
    self->ready = PyObject_GetAttrString(loop, "_ready");
    if (self->ready == NULL || PyObject_Size(self->ready) < 0) {
        return -1;
    }
    self->fd = fd;
    return 0;
}

int
ar_busypoll_open(ar_busypoll *self, PyObject *loop, double limit)
{
    self->fd = -1;
    self->limit = limit;
    self->usual = limit;
    if (limit <= 0.0 || find_selector(self, loop) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static int
anything_ready(const ar_busypoll *self)
{
    Py_ssize_t count = PyObject_Size(self->ready);
    if (count < 0) {
        PyErr_Clear();
    }
    return count != 0;
}

/* ---- polling ---- */

/* Seconds until something came, on average: below, it had come before we asked. */
#define AT_ONCE 1e-6

ar_server_place
ar_busypoll_server(const ar_busypoll *self)
{
    if (self->fd < 0 || self->pause > 0) {
        return AR_SERVER_SOMEWHERE;
    }
    return self->usual < AT_ONCE ? AR_SERVER_ON_OUR_CORE : AR_SERVER_BESIDE;
}

int
ar_busypoll_pays(ar_busypoll *self)
{
    if (self->fd < 0 || self->ready == NULL) {
        return 0;
    }
    if (self->paused > 0) {
        self->paused--;
        return 0;
    }
    return 1;
}

/* Until then: after something in vain as long as it may, for the server may be a little slower now. */
static double
patience(const ar_busypoll *self)
{
    double wait = self->pause > 0 ? self->limit : self->usual * PATIENCE;
    if (wait < SHORTEST) {
        wait = SHORTEST;
    }
    return wait < self->limit ? wait : self->limit;
}

int
ar_busypoll_wait(ar_busypoll *self)
{
    if (anything_ready(self)) {
        return 0;
    }
    struct pollfd selector = {.fd = self->fd, .events = POLLIN};
    double start = ar_monotonic(), time = start, end = start + patience(self);
    int count;
    Py_BEGIN_ALLOW_THREADS
    do {
        count = poll(&selector, 1, 0);
    } while (count == 0 && (time = ar_monotonic()) < end);
    Py_END_ALLOW_THREADS
    if (count > 0 && (selector.revents & POLLNVAL)) {
        self->fd = -1; /* the loop has another selector by now */
        return 0;
    }
    if (count > 0) {
        self->usual += (time - start - self->usual) * WEIGHT;
        self->pause = 0;
        return 1;
    }
    if (self->pause < PAUSE_MAX) {
        self->pause = self->pause * 2 + 1;
    }
    self->paused = self->pause;
    return 0;
}

/* libev inside asyncio: asyncio watches libev's backend descriptor and calls drain(); what has to happen
 * outside of a drain is done once a loop turn by turn(); one call_later handle serves all deadlines. */
#include "loop.h"

#include <string.h>

int
ar_is_interrupt(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) ||
           PyErr_GivenExceptionMatches(exception, PyExc_SystemExit);
}

/* ---- waking the asyncio side ---- */

static int
schedule_turn(ArCore *core)
{
    if (core->turn_scheduled) {
        return 0;
    }
    if (core->call_soon == NULL || core->turn_method == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop is being collected");
        return -1;
    }
    core->turn_scheduled = 1; /* first: the other thread may run the turn before this returns */
    PyObject *handle =
        core->thread == PyThread_get_thread_ident()
            ? PyObject_CallOneArg(core->call_soon, core->turn_method)
            : PyObject_CallMethod(core->loop, "call_soon_threadsafe", "O", core->turn_method);
    if (handle != NULL) {
        Py_DECREF(handle);
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError) && core->ev != NULL) {
        PyErr_Clear();
        ar_libev_waker_ring(core->waker); /* the drain it leads to stands for the turn */
        return 0;
    }
    core->turn_scheduled = 0;
    return -1;
}

/* For callers that have no way to fail: a loop that refuses is closed, and nobody waits on it. */
static void
schedule_turn_or_forget(ArCore *core)
{
    if (schedule_turn(core) < 0) {
        PyErr_Clear();
    }
}

int
ar_core_reserve_jobs(ArCore *core, size_t count)
{
    size_t wanted = core->job_count + count;
    if (wanted <= core->job_capacity) {
        return 0;
    }
    size_t capacity = core->job_capacity ? core->job_capacity : 64;
    while (capacity < wanted) {
        capacity *= 2;
    }
    ar_job *jobs = PyMem_Realloc(core->jobs, capacity * sizeof(*jobs));
    if (jobs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    core->jobs = jobs;
    core->job_capacity = capacity;
    return 0;
}

/* Takes back a job that was queued last, unless a turn has it by now: asking for the turn ran Python code, which may
 * have queued others behind it. 1: taken back, and its references are the caller's. */
static int
withdraw_job(ArCore *core, const ar_job *job)
{
    for (size_t i = core->job_count; i-- > 0;) {
        if (memcmp(&core->jobs[i], job, sizeof(*job)) == 0) {
            memmove(&core->jobs[i], &core->jobs[i + 1], (--core->job_count - i) * sizeof(*job));
            return 1;
        }
    }
    return 0;
}

static int
push_job(ArCore *core, ar_job job)
{
    if (ar_core_reserve_jobs(core, 1) < 0) {
        return -1;
    }
    Py_XINCREF(job.subject);
    Py_XINCREF(job.callback);
    Py_XINCREF(job.context);
    core->jobs[core->job_count++] = job;
    if (schedule_turn(core) == 0) {
        return 0;
    }
    int withdrawn = withdraw_job(core, &job);
    PyObject *refusal = ar_exception_take(); /* finalizers may run */
    if (core->job_count > 0) { /* queued meanwhile, and they rely on the turn that was asked for */
        schedule_turn_or_forget(core);
    }
    if (!withdrawn) { /* it is done, or being done: only an interrupt is left to be told of */
        if (ar_is_interrupt(refusal)) {
            ar_core_interrupt(core, refusal);
        } else {
            Py_DECREF(refusal);
        }
        return 0;
    }
    ar_job_clear(&job);
    ar_exception_restore(refusal);
    return -1;
}

int
ar_core_schedule_job(ArCore *core, ar_job_function function, PyObject *subject)
{
    return push_job(core, (ar_job){.function = function, .subject = subject});
}

int
ar_core_schedule_callback(ArCore *core, PyObject *callback, PyObject *subject, PyObject *context)
{
    if (core == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        return -1;
    }
    return push_job(core, (ar_job){.subject = subject, .callback = callback, .context = context});
}

void
ar_core_mark_dirty(ArCore *core, ar_flushable *flushable)
{
    flushable->queued = 1;
    flushable->next = NULL;
    if (core->dirty_tail != NULL) {
        core->dirty_tail->next = flushable;
    } else {
        core->dirty_head = flushable;
    }
    core->dirty_tail = flushable;
    if (!ar_core_draining_here(core)) {
        schedule_turn_or_forget(core);
    }
}

void
ar_core_watchers_changed(ArCore *core)
{
    core->watchers_changed = 1;
    if (!ar_core_draining_here(core)) {
        schedule_turn_or_forget(core);
    }
}

void
ar_core_poll_soon(ArCore *core)
{
    if (core->asked && !core->turn_scheduled && ar_busypoll_pays(&core->busypoll)) {
        schedule_turn_or_forget(core);
    }
}

void
ar_core_timer_start(ArCore *core, ev_timer *timer, double seconds)
{
    if (core->ev == NULL) {
        return;
    }
    /* libev counts from its cached time, which is as old as the last ev_run. */
    ev_now_update(core->ev);
    ev_timer_stop(core->ev, timer);
    ev_timer_set(timer, seconds, 0.0);
    ev_timer_start(core->ev, timer);
    ar_core_watchers_changed(core);
}

void
ar_core_cancel_timer(ArCore *core)
{
    PyObject *handle = core->timer_handle;
    core->timer_handle = NULL;
    if (handle != NULL) {
        PyObject *result = PyObject_CallMethod(handle, "cancel", NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable(handle);
        }
        Py_XDECREF(result);
        Py_DECREF(handle);
    }
}

/* Seconds: a little late rather than early, so that libev finds the timer expired. */
#define TIMER_SLACK 0.0005

/* Makes asyncio wake up for libev's next timer, unless it will do so in time already. */
static int
arm_timer(ArCore *core)
{
    double left = core->ev != NULL ? ar_libev_next_timeout(core->ev) : -1.0;
    if (left < 0.0 || core->call_later == NULL) { /* it is NULL while being collected */
        return 0;
    }
    double due = ar_monotonic() + left;
    if (core->timer_handle != NULL) {
        if (core->timer_due <= due + TIMER_SLACK) {
            return 0;
        }
        ar_core_cancel_timer(core);
    }
    core->timer_handle =
        PyObject_CallFunction(core->call_later, "dO", left + TIMER_SLACK, core->timer_method);
    core->timer_due = due;
    if (core->timer_handle != NULL) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        ar_libev_waker_ring(core->waker); /* to try again with the next drain */
        return 0;
    }
    return -1;
}

/* ---- errors ---- */

void
ar_core_report(ArCore *core, const char *message, PyObject *exception, PyObject *future)
{
    ar_state *state = core->state;
    PyObject *context = PyDict_New();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *result = NULL;
    if (context != NULL && text != NULL && PyDict_SetItem(context, state->str_message, text) == 0 &&
        PyDict_SetItem(context, state->str_exception, exception) == 0 &&
        (future == NULL || PyDict_SetItem(context, state->str_future, future) == 0)) {
        result = PyObject_CallMethod(core->loop, "call_exception_handler", "O", context);
    }
    if (result == NULL) {
        PyErr_WriteUnraisable(core->loop);
    }
    Py_XDECREF(result);
    Py_XDECREF(text);
    Py_XDECREF(context);
    Py_DECREF(exception);
}

void
ar_core_interrupt(ArCore *core, PyObject *exception)
{
    if (core->interrupt == NULL) {
        core->interrupt = exception;
    } else {
        Py_DECREF(exception);
    }
    if (core->ev != NULL) {
        ev_break(core->ev, EVBREAK_ALL);
    }
}

/* ---- drain and turn ---- */

void
ar_core_flush_dirty(ArCore *core)
{
    while (core->dirty_head != NULL) {
        ar_flushable *flushable = core->dirty_head;
        core->dirty_head = flushable->next;
        if (core->dirty_head == NULL) {
            core->dirty_tail = NULL;
        }
        flushable->next = NULL;
        flushable->queued = 0;
        flushable->flush(flushable);
    }
}

static PyObject *
take_interrupt(ArCore *core)
{
    if (core->interrupt == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *exception = core->interrupt;
    core->interrupt = NULL;
    ar_exception_restore(exception);
    return NULL;
}

/* Drains in a row that read the only connection without asking libev for what else there is. */
#define READER_DRAINS 16

void
ar_core_add_reader(ArCore *core, ev_io *reader)
{
    core->reader = reader;
}

void
ar_core_remove_reader(ArCore *core, const ev_io *reader)
{
    if (core->reader == reader) {
        core->reader = NULL;
    }
}

/* asyncio was woken, almost always because the only connection has something to read: it is read
 * without one more system call to be told so. Returns 0 when libev has to be asked. */
static int
read_only_connection(ArCore *core)
{
    if (core->connections != 1 || core->reader == NULL || !ar_libev_io_active(core->reader) ||
        core->watchers_changed || core->reader_drains >= READER_DRAINS) {
        core->reader_drains = 0;
        return 0;
    }
    core->reader_drains++;
    core->read_anything = 0;
    core->reader->cb(core->ev, core->reader, EV_READ);
    return core->read_anything;
}

/* Handles what the kernel has for us, resuming the tasks whose replies are in, and writes once. */
static void
drain_once(ArCore *core, int woken)
{
    core->asked = 0;
    core->drain_thread = PyThreadState_Get();
    if (!woken || !read_only_connection(core)) {
        core->watchers_changed = 0;
        ev_run(core->ev, EVRUN_NOWAIT);
        ar_core_renew_if_stale(core);
    }
    ar_core_flush_dirty(core);
    core->drain_thread = NULL;
}

/* Seconds for which a drain goes on polling for replies, and asyncio cannot look at its timers. */
#define POLLING_DRAIN 1e-3
/* Bytes: after more than that the server is at work on further ones, and so are we. */
#define POLLING_BYTES (16 * 1024)

/* The commands just sent are answered within microseconds, nothing else is to be done, and by now something
 * is there to be read. `bulk_before`: bulk_left before they were sent; *end: of polling, 0 at first. */
static int
answered_soon(ArCore *core, Py_ssize_t bulk_before, double *end)
{
    if (!core->asked || core->users == 0 || core->ev == NULL || core->interrupt != NULL ||
        core->watchers_changed || bulk_before - core->bulk_left > POLLING_BYTES ||
        !ar_busypoll_pays(&core->busypoll)) {
        return 0;
    }
    double now = ar_monotonic();
    if (*end == 0.0) {
        *end = now + POLLING_DRAIN;
    }
    return now < *end && ar_busypoll_wait(&core->busypoll) && core->ev != NULL;
}

static PyObject *core_turn(ArCore *core, PyObject *ignored);

static PyObject *
drain(ArCore *core, int woken)
{
    if (core->ev == NULL || core->drain_thread != NULL || !ar_core_same_process(core)) {
        Py_RETURN_NONE;
    }
    Py_INCREF(core);
    core->bulk_left = AR_BULK_PER_TURN;
    Py_ssize_t before;
    double end = 0.0;
    do {
        before = core->bulk_left;
        drain_once(core, woken);
        woken = 1;
    } while (answered_soon(core, before, &end));
    if (core->users == 0) {
        ar_core_close(core);
    } else if (core->watchers_changed) {
        schedule_turn_or_forget(core);
    }
    /* Behind an interrupt, too: the loop may be run on. */
    int refused = arm_timer(core) < 0;
    if (refused && core->interrupt != NULL) {
        PyErr_Clear();
        refused = 0;
    }
    PyObject *result = refused ? NULL : take_interrupt(core);
    if (core->turn_owed && result != NULL) {
        core->turn_owed = 0;
        if (core->turn_scheduled) {
            Py_DECREF(result);
            result = core_turn(core, NULL);
        }
    }
    Py_DECREF(core);
    return result;
}

static PyObject *
core_drain(ArCore *core, PyObject *Py_UNUSED(ignored))
{
    return drain(core, 1);
}

static PyObject *
core_timer(ArCore *core, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(core->timer_handle);
    return drain(core, 0);
}

/* Runs one job; returns -1 when an interrupt has to leave the loop. */
static int
run_job(ArCore *core, ar_job *job)
{
    if (job->function != NULL) {
        job->function(job->subject);
        return core->interrupt != NULL ? -1 : 0;
    }
    PyObject *result = ar_context_call(job->context, job->callback, job->subject);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    PyObject *exception = ar_exception_take();
    if (ar_is_interrupt(exception)) {
        ar_core_interrupt(core, exception);
        return -1;
    }
    ar_core_report(core, "Exception in callback of a Redis command", exception, job->subject);
    return 0;
}

/* The jobs queued before this turn, in order; what they queue is for the next one. */
static void
run_jobs(ArCore *core)
{
    ar_job *jobs = core->jobs;
    size_t count = core->job_count, done = 0;
    core->jobs = NULL;
    core->job_count = core->job_capacity = 0;
    int interrupted = 0;
    while (done < count && !interrupted) {
        ar_job job = jobs[done++];
        interrupted = run_job(core, &job) < 0;
        ar_job_clear(&job);
    }
    for (; done < count; done++) {
        /* Behind an interrupt: next turn. Without memory or a loop they cannot run at all. */
        if (push_job(core, jobs[done]) < 0) {
            PyErr_Clear();
        }
        ar_job_clear(&jobs[done]);
    }
    if (core->jobs == NULL) {
        core->jobs = jobs;
        core->job_capacity = count;
        core->job_count = 0;
    } else {
        PyMem_Free(jobs);
    }
}

static PyObject *
core_turn(ArCore *core, PyObject *Py_UNUSED(ignored))
{
    Py_INCREF(core);
    core->turn_scheduled = 0;
    core->bulk_left = AR_BULK_PER_TURN;
    run_jobs(core);
    ar_core_flush_dirty(core);
    double end = 0.0;
    int answered = answered_soon(core, AR_BULK_PER_TURN, &end);
    if (core->interrupt != NULL && core->watchers_changed) {
        schedule_turn_or_forget(core); /* whoever runs the loop on */
    }
    PyObject *result = take_interrupt(core);
    if (result != NULL && (core->watchers_changed || answered)) {
        Py_DECREF(result);
        result = drain(core, answered && !core->watchers_changed);
    }
    Py_DECREF(core);
    return result;
}

PyMethodDef ar_core_methods[] = {
    {"drain", (PyCFunction)core_drain, METH_NOARGS, NULL},
    {"turn", (PyCFunction)core_turn, METH_NOARGS, NULL},
    {"timer", (PyCFunction)core_timer, METH_NOARGS, NULL},
    {NULL},
};

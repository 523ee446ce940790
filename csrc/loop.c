/* libev inside asyncio: asyncio watches libev's backend descriptor and calls drain(); what has to happen
 * outside of a drain is done once a loop turn by turn(); one call_later handle serves all deadlines. */
#include "loop.h"

#include <time.h>

/* Counts fork()s of this process: a property of the process, hence not in the module state. */
static volatile unsigned process_generation;

double
ar_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int
ar_is_interrupt(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt) ||
           PyErr_GivenExceptionMatches(exception, PyExc_SystemExit);
}

void
ar_core_after_fork(void)
{
    process_generation++;
}

static int
loop_is_closed(PyObject *loop)
{
    PyObject *closed = PyObject_CallMethod(loop, "is_closed", NULL);
    if (closed == NULL) {
        PyErr_Clear();
        return 1;
    }
    int result = PyObject_IsTrue(closed);
    Py_DECREF(closed);
    return result;
}

int
ar_core_alive(const ArCore *core)
{
    return core->generation == process_generation && !loop_is_closed(core->loop);
}

/* ---- closing ---- */

static void
cancel_timer_handle(ArCore *core)
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

/* Leaves the asyncio loop and gives the libev loop back. Jobs still queued are run nevertheless. */
static void
core_close(ArCore *core)
{
    if (core->ev == NULL) {
        return;
    }
    struct ev_loop *ev = core->ev;
    core->ev = NULL;
    if (ar_core_find(core->state, core->loop) == core) {
        if (PyDict_DelItem(core->state->cores, core->loop) < 0) {
            PyErr_Clear();
        }
    }
    if (ar_core_alive(core)) {
        PyObject *result =
            PyObject_CallMethod(core->loop, "remove_reader", "i", ar_libev_backend_fd(ev));
        if (result == NULL) {
            PyErr_WriteUnraisable(core->loop);
        }
        Py_XDECREF(result);
        cancel_timer_handle(core);
    }
    ev_loop_destroy(ev);
}

void
ar_core_attach(ArCore *core)
{
    core->users++;
}

void
ar_core_detach(ArCore *core)
{
    core->users--;
    /* Inside of a drain libev is on the stack: drain() closes at its end. */
    if (core->users == 0 && core->drain_thread == NULL) {
        Py_INCREF(core);
        core_close(core);
        Py_DECREF(core);
    }
}

static void
jobs_clear(ArCore *self)
{
    ar_job *jobs = self->jobs;
    size_t count = self->job_count;
    self->jobs = NULL;
    self->job_count = self->job_capacity = 0;
    for (size_t i = 0; i < count; i++) {
        Py_XDECREF(jobs[i].subject);
        Py_XDECREF(jobs[i].callback);
        Py_XDECREF(jobs[i].context);
    }
    PyMem_Free(jobs);
}

static int
core_traverse(ArCore *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->call_soon);
    Py_VISIT(self->call_later);
    Py_VISIT(self->drain_method);
    Py_VISIT(self->turn_method);
    Py_VISIT(self->timer_method);
    Py_VISIT(self->timer_handle);
    Py_VISIT(self->interrupt);
    for (size_t i = 0; i < self->job_count; i++) {
        Py_VISIT(self->jobs[i].subject);
        Py_VISIT(self->jobs[i].callback);
        Py_VISIT(self->jobs[i].context);
    }
    return 0;
}

static int
core_clear(ArCore *self)
{
    jobs_clear(self);
    Py_CLEAR(self->call_soon);
    Py_CLEAR(self->call_later);
    Py_CLEAR(self->drain_method);
    Py_CLEAR(self->turn_method);
    Py_CLEAR(self->timer_method);
    Py_CLEAR(self->timer_handle);
    Py_CLEAR(self->interrupt);
    return 0;
}

static void
core_dealloc(ArCore *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->ev != NULL) {
        ev_loop_destroy(self->ev);
    }
    (void)core_clear(self);
    Py_CLEAR(self->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- waking the asyncio side ---- */

static int
schedule_turn(ArCore *core)
{
    if (core->turn_scheduled) {
        return 0;
    }
    PyObject *handle = PyObject_CallOneArg(core->call_soon, core->turn_method);
    if (handle == NULL) {
        return -1;
    }
    Py_DECREF(handle);
    core->turn_scheduled = 1;
    return 0;
}

static int
push_job(ArCore *core, ar_job job)
{
    if (core->job_count == core->job_capacity) {
        size_t capacity = core->job_capacity ? core->job_capacity * 2 : 64;
        ar_job *jobs = PyMem_Realloc(core->jobs, capacity * sizeof(*jobs));
        if (jobs == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        core->jobs = jobs;
        core->job_capacity = capacity;
    }
    if (schedule_turn(core) < 0) {
        return -1;
    }
    Py_XINCREF(job.subject);
    Py_XINCREF(job.callback);
    Py_XINCREF(job.context);
    core->jobs[core->job_count++] = job;
    return 0;
}

int
ar_core_schedule_job(ArCore *core, ar_job_function function, PyObject *subject)
{
    return push_job(core, (ar_job){.function = function, .subject = subject});
}

int
ar_core_schedule_callback(ArCore *core, PyObject *callback, PyObject *subject, PyObject *context)
{
    return push_job(core,
                    (ar_job){.subject = subject, .callback = callback, .context = context});
}

/* For callers that have no way to fail: a loop that refuses is closed, and nobody waits on it. */
static void
schedule_turn_or_forget(ArCore *core)
{
    if (schedule_turn(core) < 0) {
        PyErr_Clear();
    }
}

void
ar_core_mark_dirty(ArCore *core, ar_flushable *flushable)
{
    if (flushable->queued) {
        return;
    }
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

/* Makes asyncio wake up for libev's next timer, unless it will do so in time already. */
static int
arm_timer(ArCore *core)
{
    double left = core->ev != NULL ? ar_libev_next_timeout(core->ev) : -1.0;
    if (left < 0.0) {
        return 0;
    }
    double due = ar_monotonic() + left;
    if (core->timer_handle != NULL) {
        if (core->timer_due <= due + 0.0005) {
            return 0;
        }
        cancel_timer_handle(core);
    }
    /* A little late rather than early, so that libev finds the timer expired. */
    core->timer_handle = PyObject_CallFunction(core->call_later, "dO", left + 0.0005,
                                               core->timer_method);
    core->timer_due = due;
    return core->timer_handle == NULL ? -1 : 0;
}

/* ---- errors ---- */

void
ar_core_report(ArCore *core, const char *message, PyObject *exception, PyObject *future)
{
    ar_state *state = core->state;
    PyObject *context = PyDict_New();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *result = NULL;
    if (context != NULL && text != NULL &&
        PyDict_SetItem(context, state->str_message, text) == 0 &&
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

static void
flush_dirty(ArCore *core)
{
    while (core->dirty_head != NULL) {
        ar_flushable *flushable = core->dirty_head;
        core->dirty_head = flushable->next;
        if (core->dirty_head == NULL) {
            core->dirty_tail = NULL;
        }
        flushable->next = NULL;
        flushable->queued = 0;
        if (flushable->flush != NULL) {
            flushable->flush(flushable);
        }
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

/* Handles what the kernel has for us, resuming the tasks whose replies are in, and writes once. */
static PyObject *
core_drain(ArCore *core, PyObject *Py_UNUSED(ignored))
{
    if (core->ev == NULL || core->drain_thread != NULL ||
        core->generation != process_generation) {
        Py_RETURN_NONE;
    }
    Py_INCREF(core);
    core->drain_thread = PyThreadState_Get();
    core->watchers_changed = 0;
    ev_run(core->ev, EVRUN_NOWAIT);
    flush_dirty(core);
    core->drain_thread = NULL;
    if (core->users == 0) {
        core_close(core);
    } else if (core->watchers_changed) {
        schedule_turn_or_forget(core);
    }
    PyObject *result = take_interrupt(core);
    if (result != NULL && arm_timer(core) < 0) {
        Py_CLEAR(result);
    }
    Py_DECREF(core);
    return result;
}

static PyObject *
core_timer(ArCore *core, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(core->timer_handle);
    return core_drain(core, NULL);
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
        Py_XDECREF(job.subject);
        Py_XDECREF(job.callback);
        Py_XDECREF(job.context);
    }
    for (; done < count; done++) {
        /* Behind an interrupt: next turn. Without memory or a loop they cannot run at all. */
        if (push_job(core, jobs[done]) < 0) {
            PyErr_Clear();
        }
        Py_XDECREF(jobs[done].subject);
        Py_XDECREF(jobs[done].callback);
        Py_XDECREF(jobs[done].context);
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
    run_jobs(core);
    flush_dirty(core);
    PyObject *result = take_interrupt(core);
    if (result != NULL && core->watchers_changed) {
        Py_DECREF(result);
        result = core_drain(core, NULL);
    }
    Py_DECREF(core);
    return result;
}

static PyMethodDef core_methods[] = {
    {"drain", (PyCFunction)core_drain, METH_NOARGS, NULL},
    {"turn", (PyCFunction)core_turn, METH_NOARGS, NULL},
    {"timer", (PyCFunction)core_timer, METH_NOARGS, NULL},
    {NULL},
};

/* ---- making ---- */

ArCore *
ar_core_find(ar_state *state, PyObject *loop)
{
    return (ArCore *)PyDict_GetItemWithError(state->cores, loop);
}

static ArCore *
core_new(ar_state *state, PyObject *loop)
{
    ArCore *core = (ArCore *)state->CoreType->tp_alloc(state->CoreType, 0);
    if (core == NULL) {
        return NULL;
    }
    core->state = state;
    core->loop = Py_NewRef(loop);
    core->generation = process_generation;
    core->ev = ar_libev_new();
    if (core->ev == NULL) {
        PyErr_SetString(PyExc_OSError, "libev could not create an event loop "
                                       "(out of memory or file descriptors)");
        goto error;
    }
    if ((core->call_soon = PyObject_GetAttrString(loop, "call_soon")) == NULL ||
        (core->call_later = PyObject_GetAttrString(loop, "call_later")) == NULL ||
        (core->drain_method = PyObject_GetAttrString((PyObject *)core, "drain")) == NULL ||
        (core->turn_method = PyObject_GetAttrString((PyObject *)core, "turn")) == NULL ||
        (core->timer_method = PyObject_GetAttrString((PyObject *)core, "timer")) == NULL) {
        goto error;
    }
    PyObject *result = PyObject_CallMethod(loop, "add_reader", "iO",
                                           ar_libev_backend_fd(core->ev), core->drain_method);
    if (result == NULL) {
        goto error;
    }
    Py_DECREF(result);
    return core;

error:
    (void)core_clear(core);
    Py_DECREF(core);
    return NULL;
}

/* Cores of loops that were closed under their clients, and of the parent process. */
static int
forget_dead_cores(ar_state *state)
{
    PyObject *loops = PyDict_Keys(state->cores);
    if (loops == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(loops); i++) {
        PyObject *loop = PyList_GET_ITEM(loops, i);
        ArCore *core = ar_core_find(state, loop);
        if (core != NULL && !ar_core_alive(core) && PyDict_DelItem(state->cores, loop) < 0) {
            Py_DECREF(loops);
            return -1;
        }
    }
    Py_DECREF(loops);
    return 0;
}

ArCore *
ar_core_get(ar_state *state)
{
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    ArCore *core = ar_core_find(state, loop);
    if (core != NULL && core->generation == process_generation && core->ev != NULL) {
        Py_DECREF(loop);
        return (ArCore *)Py_NewRef((PyObject *)core);
    }
    core = NULL;
    if (PyErr_Occurred() || forget_dead_cores(state) < 0) {
        goto done;
    }
    core = core_new(state, loop);
    if (core != NULL && PyDict_SetItem(state->cores, loop, (PyObject *)core) < 0) {
        core_close(core);
        Py_CLEAR(core);
    }

done:
    Py_DECREF(loop);
    return core;
}

static PyType_Slot core_slots[] = {
    {Py_tp_doc, (void *)"libev inside one asyncio loop."},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_methods, core_methods},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "aiecs_redis._native.Core",
    .basicsize = sizeof(ArCore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = core_slots,
};

int
ar_core_setup(PyObject *module, ar_state *state)
{
    state->CoreType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    if (state->CoreType == NULL) {
        return -1;
    }
#if PY_VERSION_HEX < 0x030A0000
    state->CoreType->tp_new = NULL;
#endif
    state->cores = PyDict_New();
    return state->cores == NULL ? -1 : 0;
}

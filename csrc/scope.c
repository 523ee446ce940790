/* The blocks of aiecs_redis.timeout(). The innermost one is in a context variable, so that tasks made in
 * a block are bound by it, too; one that was left binds nothing, whoever still has its context. */
#include "scope.h"

#include "loop.h"

#include <structmember.h>

typedef struct ArScope {
    PyObject_HEAD
    ar_state *state;
    double seconds, expires; /* 0.0: no bound of its own; no bound at all */
    int open;
    PyObject *outer; /* the block around this one, or NULL */
    PyObject *token; /* of the context variable */
} ArScope;

static double
expires_of(const ArScope *scope)
{
    while (scope != NULL && !scope->open) {
        scope = (const ArScope *)scope->outer;
    }
    return scope != NULL ? scope->expires : 0.0;
}

int
ar_scope_expires(ar_state *state, double *expires)
{
    PyObject *scope = NULL;
    if (PyContextVar_Get(state->scope_variable, NULL, &scope) < 0) {
        return -1;
    }
    *expires = expires_of((ArScope *)scope);
    Py_XDECREF(scope);
    return 0;
}

static void
leave(ArScope *self)
{
    if (self->open) {
        self->open = 0;
        self->state->open_scopes--;
    }
}

static int
scope_traverse(ArScope *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->outer);
    Py_VISIT(self->token);
    return 0;
}

static int
scope_clear(ArScope *self)
{
    Py_CLEAR(self->outer);
    Py_CLEAR(self->token);
    return 0;
}

static void
scope_dealloc(ArScope *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    leave(self); /* a block in a coroutine that nobody finished */
    (void)scope_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
scope_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"seconds", NULL};
    ar_state *state = PyType_GetModuleState(type);
    PyObject *seconds;
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O:timeout", keywords, &seconds)) {
        return NULL;
    }
    double value = 0.0;
    if (seconds != Py_None) {
        value =
            PyBool_Check(seconds) || !PyNumber_Check(seconds) ? -1.0 : PyFloat_AsDouble(seconds);
        if (value == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
        if (!(value > 0.0)) {
            return PyErr_Format(PyExc_ValueError,
                                "timeout(%R): give a number of seconds greater than 0, or None",
                                seconds);
        }
    }
    ArScope *self = (ArScope *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->seconds = value;
    }
    return (PyObject *)self;
}

static PyObject *
scope_enter(ArScope *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *outer = NULL;
    if (self->open) {
        PyErr_SetString(PyExc_RuntimeError, "this timeout() is in use: make one for each block");
        return NULL;
    }
    if (PyContextVar_Get(self->state->scope_variable, NULL, &outer) < 0) {
        return NULL;
    }
    double around = expires_of((ArScope *)outer);
    Py_XSETREF(self->outer, outer);
    self->expires = self->seconds > 0.0 ? ar_monotonic() + self->seconds : around;
    if (around != 0.0 && around < self->expires) {
        self->expires = around;
    }
    Py_XSETREF(self->token, PyContextVar_Set(self->state->scope_variable, (PyObject *)self));
    if (self->token == NULL) {
        return NULL;
    }
    self->open = 1;
    self->state->open_scopes++;
    return Py_NewRef((PyObject *)self);
}

static PyObject *
scope_exit(ArScope *self, PyObject *Py_UNUSED(args))
{
    leave(self);
    if (self->token != NULL && PyContextVar_Reset(self->state->scope_variable, self->token) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return NULL;
        }
        PyErr_Clear(); /* left in another context than entered; it binds nothing there either */
    }
    (void)scope_clear(self);
    Py_RETURN_FALSE;
}

static PyObject *
scope_left(ArScope *self, void *Py_UNUSED(closure))
{
    double expires = expires_of(self);
    if (expires == 0.0) {
        Py_RETURN_NONE;
    }
    double left = expires - ar_monotonic();
    return PyFloat_FromDouble(left > 0.0 ? left : 0.0);
}

static PyMethodDef scope_methods[] = {
    {"__enter__", (PyCFunction)scope_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)scope_exit, METH_VARARGS, NULL},
    {NULL},
};

static PyGetSetDef scope_getset[] = {
    {"left", (getter)scope_left, NULL, "Seconds left, 0.0 when they are over; None: no bound.",
     NULL},
    {NULL},
};

static PyType_Slot scope_slots[] = {
    {Py_tp_doc, (void *)"Timeout(seconds)\n--\n\nThe block of an aiecs_redis.timeout."},
    {Py_tp_new, scope_new},
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_traverse, scope_traverse},
    {Py_tp_clear, scope_clear},
    {Py_tp_methods, scope_methods},
    {Py_tp_getset, scope_getset},
    {0, NULL},
};

static PyType_Spec scope_spec = {
    .name = "aiecs_redis._native.Timeout",
    .basicsize = sizeof(ArScope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = scope_slots,
};

int
ar_scope_setup(PyObject *module, ar_state *state)
{
    state->scope_variable = PyContextVar_New("aiecs_redis.timeout", NULL);
    state->TimeoutType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &scope_spec, NULL);
    if (state->scope_variable == NULL || state->TimeoutType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Timeout", (PyObject *)state->TimeoutType);
}

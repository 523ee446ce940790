/* The reply of a command that takes something away (BLPOP, ...) is in, and nobody has been told yet. Until then the
 * command counts as pending: it can still be cancelled, as if the reply had come later, and what it brought goes
 * back. That leaves no moment in which the command is done and its waiter can give up without having it. */
#include "command.h"

/* Its waiters are called, if there are any. While the reply is converted it stays ANSWERED. */
static void
settle(ArCommand *command)
{
    PyObject *reply = command->result;
    if (reply != NULL) { /* NULL: a response callback looks at the command it is called for */
        command->result = NULL;
        Py_INCREF(command);
        ar_command_reply(command, reply);
        Py_DECREF(command);
    }
}

static void
tell(PyObject *subject)
{
    ArCommand *command = (ArCommand *)subject;
    if (command->status == AR_ANSWERED && command->callback != NULL) {
        command->core->delivering = AR_DELIVER_TO_ALL;
        settle(command);
        command->core->delivering = 0;
    }
}

void
ar_command_tell_later(ArCommand *command)
{
    if (ar_core_schedule_job(command->core, tell, (PyObject *)command) < 0) {
        PyErr_Clear(); /* no memory, or the loop is closed: like any other command */
        settle(command);
    }
}

void
ar_command_look(ArCommand *command)
{
    if (command->status == AR_ANSWERED && command->callback == NULL) {
        settle(command);
    }
}

void
ar_command_answer(ArCommand *command, PyObject *reply, PyObject *receipt)
{
    Py_XSETREF(command->result, reply);
    Py_XSETREF(command->replies, receipt);
    command->status = AR_ANSWERED;
    if (ar_command_resumes_at_once(command)) {
        settle(command);
    } else if (command->callback != NULL) {
        ar_command_tell_later(command);
    }
}

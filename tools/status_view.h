/* The look behind `status`, for whoever shows it again and again. */
#ifndef TOOLS_STATUS_VIEW_H
#define TOOLS_STATUS_VIEW_H

#include "health.h"
#include "tool.h"

/* Looks at store and agent. l->newest_dead and *report are to be freed (text_free, free), also after a failure. */
sl_status status_look(tool *t, look *l, char **report);
void status_people(tool *t, const look *l, uint32_t troubles);
#endif

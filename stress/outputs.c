/* SPDX-License-Identifier: BSD-2-Clause */
#include "outputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool outputs_complain(const char *program, const char *option, const char *name,
                      const char *fault)
{
    fprintf(stderr, "%s: %s: %s: %s\n", program, option, name, fault);
    return false;
}

static bool can_plot(void)
{
    return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

bool outputs_open(const char *program, const char *csv_name, const char *plot_name, FILE **csv)
{
    FILE *trial;

    if (csv_name != NULL && (*csv = fopen(csv_name, "we")) == NULL)
        return outputs_complain(program, "--csv", csv_name, strerror(errno));
    if (plot_name == NULL)
        return true;
    if (!can_plot())
        return outputs_complain(program, "--plot", plot_name,
                                "gnuplot is not installed (Debian: gnuplot-nox)");
    if ((trial = fopen(plot_name, "ae")) == NULL)
        return outputs_complain(program, "--plot", plot_name, strerror(errno));
    fclose(trial);
    return true;
}

/* gnuplot's quotes of one kind take all but themselves, which are doubled. */
void outputs_quote(FILE *plot, const char *text)
{
    fputc('\'', plot);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputc('\'', plot);
        fputc(*text, plot);
    }
    fputc('\'', plot);
}

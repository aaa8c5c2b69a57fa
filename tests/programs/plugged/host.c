/* A host in C that does not know of pools: host SITUATION OBJECT [OTHER]. It loads the object, and has it check its pools. What
   it prints shows how often its constructor and its main function have run. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((constructor)) static void constructor(void) {
    write(1, "constructor\n", 12);
}

#ifdef TAKES_AN_ADDRESS
/* In code that is not position-independent, a function of the C library has an address in this program then. */
int *(*address_of_errno(void))(void) {
    return &__errno_location;
}
#endif

static void *load(const char *path, int flags) {
    void *object = dlopen(path, RTLD_NOW | flags);
    if (object == NULL) {
        printf("cannot load: %s\n", dlerror());
        exit(3);
    }
    return object;
}

static void check(void *object) {
    int (*function)(void) = (int (*)(void))dlsym(object, "plug_in_check");
    int failed = function();
    printf("checked: %d\n", failed);
    fflush(stdout);
}

/* Becomes another user, and keeps one right, which ends at exec: to read every file. */
static int keep_one_right(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct rights[2] = {{0}};
    rights[0].effective = rights[0].permitted = 1 << CAP_DAC_READ_SEARCH;
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresgid(65534, 65534, 65534) != 0 ||
           setresuid(65534, 65534, 65534) != 0 || syscall(SYS_capset, &header, rights) != 0;
}

static char **arguments_of_main;

static void change(void) {
    if (strcmp(arguments_of_main[3], "root") == 0) {
        char folder[4096];
        if (getcwd(folder, sizeof folder) == NULL || chroot(folder) != 0) printf("cannot change the root\n");
    } else {
        rename(arguments_of_main[3], arguments_of_main[2]);
    }
}

int main(int count, char **arguments) {
    printf("main\n");
    fflush(stdout);
    if (count < 3) {
        /* A host that does not look at its arguments would do its work once more. */
        if (getenv("ONCE_MORE") != NULL) {
            check(load(getenv("ONCE_MORE"), RTLD_LOCAL));
        }
        char byte;
        if (read(0, &byte, 1) > 0) printf("took input\n");
        fflush(stdout);
        fprintf(stderr, "usage: host SITUATION OBJECT [OTHER]\n");
        return 2;
    }
    const char *situation = arguments[1];
    if (strcmp(situation, "global") == 0) {
        load(arguments[3], RTLD_GLOBAL);
    }
    void *object = load(arguments[2], RTLD_LOCAL);
    if (strcmp(situation, "deleted") == 0) {
        unlink(arguments[2]);
    } else if (strcmp(situation, "replaced") == 0) {
        rename(arguments[3], arguments[2]);
    } else if (strcmp(situation, "elsewhere") == 0) {
        if (chdir("/") != 0) return 4;
    } else if (strcmp(situation, "rights") == 0) {
        if (keep_one_right() != 0) return 5;
    } else if (strcmp(situation, "dropped") == 0) {
        if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) return 6;
    } else if (strcmp(situation, "other") == 0) {
        check(load(arguments[3], RTLD_LOCAL));
    }
    if (strcmp(situation, "later") == 0) {
        arguments_of_main = arguments;
        void (*lose)(void (*)(void)) = (void (*)(void (*)(void)))dlsym(object, "plug_in_lose_server");
        lose(change);
        return 0;
    }
    check(object);
    if (strcmp(situation, "again") == 0) {
        dlclose(object);
        dlclose(object);
        check(load(arguments[2], RTLD_LOCAL));
    } else if (strcmp(situation, "fork") == 0) {
        pid_t child = fork();
        check(object);
        if (child == 0) {
            return 0;
        }
        int status;
        waitpid(child, &status, 0);
        printf("child: %d\n", status);
    }
    return 0;
}

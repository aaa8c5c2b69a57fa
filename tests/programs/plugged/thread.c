/* A library whose constructor makes a thread, as OpenBLAS and monitoring agents do. */

#include <pthread.h>
#include <unistd.h>

static void *sleep_on(void *nothing) {
    for (;;) pause();
    return nothing;
}

__attribute__((constructor)) static void make_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_on, NULL);
}

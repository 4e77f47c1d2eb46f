#include "workers/common/aws/profile_files.h"

#include "workers/common/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES = 2 };

/* Two changes within so short a time may leave a file with the same times. The second in which it changed counts as its
 * time. */
enum { CHANGE_SETTLES_MS = 2000 };

/* Which content a path has: a file's time of change cannot be set back, unlike that of its modification. */
struct stamp {
    bool is_there;
    dev_t device;
    ino_t inode;
    off_t size_bytes;
    struct timespec changed;
};

struct profile_files {
    struct profiles *profiles; /* NULL: not read yet, or in vain */
    bool may_keep;             /* a later change of the files will show in their stamps */
    char *paths[FILES];
    struct stamp stamps[FILES]; /* from before they were read */
};

struct profile_files *profile_files_new(void)
{
    return memory_zeroed(1, sizeof(struct profile_files));
}

static void profile_files_forget(struct profile_files *files)
{
    profiles_free(files->profiles);
    files->profiles = NULL;
    files->may_keep = false;
    for (int i = 0; i < FILES; i++) {
        free(files->paths[i]);
        files->paths[i] = NULL;
    }
}

void profile_files_free(struct profile_files *files)
{
    if (files != NULL) {
        profile_files_forget(files);
        free(files);
    }
}

static struct stamp stamp_of(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return (struct stamp){0};
    }
    return (struct stamp){true, status.st_dev, status.st_ino, status.st_size, status.st_ctim};
}

static bool stamp_is_same(const struct stamp *one, const struct stamp *other)
{
    return one->is_there == other->is_there && one->device == other->device && one->inode == other->inode &&
           one->size_bytes == other->size_bytes && one->changed.tv_sec == other->changed.tv_sec &&
           one->changed.tv_nsec == other->changed.tv_nsec;
}

/* Whatever happens to the files from now on shows. Where there is none, looking again costs nothing. */
static bool stamps_are_settled(const struct stamp stamps[FILES], int64_t now_wall_ms)
{
    bool is_there = false;
    for (int i = 0; i < FILES; i++) {
        is_there = is_there || stamps[i].is_there;
        if (stamps[i].is_there && (int64_t)stamps[i].changed.tv_sec * 1000 > now_wall_ms - CHANGE_SETTLES_MS) {
            return false;
        }
    }
    return is_there;
}

static bool profile_files_are_current(const struct profile_files *files, const char *const paths[FILES],
                                      const struct stamp stamps[FILES])
{
    for (int i = 0; files->may_keep && i < FILES; i++) {
        if (strcmp(files->paths[i], paths[i]) != 0 || !stamp_is_same(&files->stamps[i], &stamps[i])) {
            return false;
        }
    }
    return files->may_keep;
}

bool profile_files_read(struct profile_files *files, const char *credentials_path, const char *config_path,
                        const struct profiles **ret_profiles, struct error *err)
{
    const char *const paths[FILES] = {credentials_path, config_path};
    const struct stamp stamps[FILES] = {stamp_of(credentials_path), stamp_of(config_path)};
    if (!profile_files_are_current(files, paths, stamps)) {
        bool may_keep = stamps_are_settled(stamps, clock_wall_ms());
        profile_files_forget(files);
        if (!profiles_read(credentials_path, config_path, &files->profiles, err)) {
            return false;
        }
        files->may_keep = may_keep;
        for (int i = 0; i < FILES; i++) {
            files->paths[i] = text_copy(paths[i]);
            files->stamps[i] = stamps[i];
        }
    }
    *ret_profiles = files->profiles;
    return true;
}

/*
 * spank_environment: a test double of the Container Engine's SPANK plugin.
 *
 * Gives srun, sbatch and salloc the option --environment=NAME|PATH and runs the
 * tasks of such a step inside the image that the Environment Definition File
 * (EDF) names: one mount namespace for each node and step, shared by its tasks.
 *
 * plugstack.conf: required spank_environment.so resolver=PROGRAM base=DIR conf=DIR munge=DIR
 *
 * Built with: cc -shared -fPIC -o spank_environment.so spank_environment.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <slurm/slurm.h>
#include <slurm/spank.h>

SPANK_PLUGIN(environment, 1);

#define NAME "environment"
#define INSIDE "SPANK_ENVIRONMENT_INSIDE"   /* set for the tasks in a container */

static char *edf;                     /* the value of --environment */
static const char *resolver = "", *base = "", *conf = "", *munge = "";
static char plan[1 << 20];            /* the resolver's records, each ended by NUL */
static ssize_t plan_len;
static int ns_fd = -1;                /* the mount namespace of this step */
static int failed;                    /* no container could be made: the tasks end with 1 */
static char image_workdir[PATH_MAX] = "/";

static int on_option(int val, const char *optarg, int remote)
{
	(void)val, (void)remote;
	if (!optarg || !*optarg) {
		slurm_error(NAME ": --environment needs a name or a path");
		return -1;
	}
	free(edf);
	edf = strdup(optarg);
	return 0;
}

static struct spank_option option = {
	"environment", "NAME|PATH", "the Environment Definition File to run in", 1, 0, on_option
};

/* Runs the resolver and reads its plan; as user uid with environment env if remote. */
static int resolve(char **env, int drop, uid_t uid, gid_t gid)
{
	int out[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		if (drop && (seteuid(0) || setgroups(1, &gid) || setgid(gid) || setuid(uid)))
			_exit(126);
		dup2(out[1], 1);
		if (dup2(out[1], 2) < 0)
			_exit(126);
		execle(resolver, resolver, edf, (char *)NULL, env);
		_exit(127);
	}
	close(out[1]);
	plan_len = 0;
	while ((n = read(out[0], plan + plan_len, sizeof(plan) - 1 - plan_len)) > 0)
		plan_len += n;
	plan[plan_len] = '\0';
	close(out[0]);
	waitpid(pid, &status, 0);
	if (status == 0)
		return 0;
	plan[strcspn(plan, "\n")] = '\0';
	slurm_error(NAME ": %s: %s", edf, *plan ? plan : "the resolver failed");
	return -1;
}

/* The i-th record of a kind, past its kind; NULL when there are no more. */
static char *record(const char *kind, int i)
{
	size_t k = strlen(kind);

	for (char *r = plan; r < plan + plan_len; r += strlen(r) + 1)
		if (!strncmp(r, kind, k) && r[k] == '\t' && i-- == 0)
			return r + k + 1;
	return NULL;
}

static void die(const char *what, const char *arg)
{
	dprintf(2, "%s %s: %s", what, arg, strerror(errno));
	_exit(1);
}

/* Makes the file or folder path under the new root that src can be bound to. */
static void make_target(const char *src, char *path)
{
	struct stat st;

	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	if (stat(src, &st))
		die("stat", src);
	if (S_ISDIR(st.st_mode))
		mkdir(path, 0755);
	else
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}

static void bind_to(const char *src, const char *dst, int recursive, int ro)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/root/%s", base, dst + (*dst == '/'));
	make_target(src, path);
	if (mount(src, path, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL))
		die("bind", src);
	if (ro && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		die("remount", src);
}

static void bind_if_there(const char *src, int ro)
{
	if (access(src, F_OK) == 0)
		bind_to(src, src, 0, ro);
}

/* The Slurm hook: clients, their libraries, configuration and the munge socket. */
static void bind_slurm(void)
{
	static const char *const clients[] = {
		"srun", "sbatch", "salloc", "scancel", "scontrol", "squeue", "sinfo", "sacct"
	};
	static const char *const archs[] = { "x86_64-linux-gnu", "aarch64-linux-gnu" };
	static const char *const libs[] = {   /* the last three only where the image has none */
		"slurm-wlm", "libmunge.so.2", "liblz4.so.1", "libreadline.so.8", "libtinfo.so.6"
	};
	char src[256], dst[PATH_MAX];

	for (size_t i = 0; i < sizeof(clients) / sizeof(*clients); i++) {
		snprintf(src, sizeof(src), "/usr/bin/%s", clients[i]);
		bind_if_there(src, 1);
	}
	for (size_t a = 0; a < sizeof(archs) / sizeof(*archs); a++) {
		for (size_t i = 0; i < sizeof(libs) / sizeof(*libs); i++) {
			snprintf(src, sizeof(src), "/usr/lib/%s/%s", archs[a], libs[i]);
			snprintf(dst, sizeof(dst), "%s/root%s", base, src);
			if (i < 2 || access(dst, F_OK))
				bind_if_there(src, 1);
		}
	}
	bind_if_there(conf, 1);
	bind_if_there(munge, 0);
}

/* With entrypoint = false the engine's own rc.local stands in for the image's entrypoint. */
static void bind_rc_local(void)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/rc.local", base);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	dprintf(fd, "exec \"$@\"\n");
	close(fd);
	bind_to(path, "/etc/rc.local", 0, 1);
}

/* In a child with root rights: builds the container and makes it the root. */
static void enter_new_root(const char *script)
{
	char opts[3 * PATH_MAX], path[PATH_MAX];
	const char *image = record("image", 0);
	static const char *const dirs[] = { "lower", "upper", "work", "root" };
	struct stat st;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("unshare", "mount namespace");
	mkdir(base, 0755);
	if (mount("tmpfs", base, "tmpfs", MS_NODEV, "mode=0755"))
		die("mount tmpfs", base);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, dirs[i]);
		mkdir(path, 0755);
	}
	snprintf(path, sizeof(path), "%s/lower", base);
	if (stat(image, &st))
		die("stat", image);
	if (S_ISDIR(st.st_mode)) {
		if (mount(image, path, NULL, MS_BIND, NULL))
			die("bind", image);
	} else {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0) {
			execl("/bin/mount", "mount", "-t", "squashfs", "-o", "loop,ro,nodev", image, path, (char *)NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) < 0 || status) {
			dprintf(2, "cannot mount image %s", image);
			_exit(1);
		}
	}
	snprintf(opts, sizeof(opts), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base);
	snprintf(path, sizeof(path), "%s/root", base);
	if (mount("overlay", path, "overlay", MS_NODEV, opts))
		die("mount overlay", path);

	bind_to("/proc", "/proc", 1, 0);
	bind_to("/sys", "/sys", 1, 0);
	bind_to("/dev", "/dev", 1, 0);
	bind_to("/tmp", "/tmp", 0, 0);
	bind_if_there("/etc/passwd", 1);
	bind_if_there("/etc/group", 1);
	bind_if_there("/etc/hosts", 1);
	bind_if_there("/etc/resolv.conf", 1);
	if (*record("entrypoint", 0) == '0')
		bind_rc_local();
	if (*record("hook", 0) == '1')
		bind_slurm();
	for (int i = 0; record("mount", i); i++) {
		char *src = strdup(record("mount", i)), *dst = strchr(src, '\t'), *flags;

		*dst++ = '\0';
		flags = strchr(dst, '\t');
		*flags++ = '\0';
		bind_to(src, dst, 1, !strcmp(flags, "ro") || !strncmp(flags, "ro+", 3));
	}
	if (script)
		bind_to(script, script, 0, 1);
	if (*record("writable", 0) == '0' && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		die("remount", path);
	if (chdir(path) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
		die("pivot_root", path);
}

/* Builds the namespace in a child and keeps it alive by a descriptor. */
static int build_namespace(const char *script)
{
	int ready[2], hold[2];
	char msg[PATH_MAX + 256], path[64];
	ssize_t n;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) || pipe2(hold, O_CLOEXEC) || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		close(hold[1]);
		dup2(ready[1], 2);
		if (seteuid(0))
			die("seteuid", "0");
		enter_new_root(script);
		dprintf(2, "ok");
		close(2);
		close(ready[1]);
		n = read(hold[0], msg, 1);
		_exit(0);
	}
	close(ready[1]);
	close(hold[0]);
	for (n = 0; n < (ssize_t)sizeof(msg) - 1;) {
		ssize_t got = read(ready[0], msg + n, sizeof(msg) - 1 - n);
		if (got <= 0)
			break;
		n += got;
	}
	msg[n] = '\0';
	if (!strcmp(msg, "ok")) {
		uid_t me = geteuid();
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
		if (seteuid(0) == 0) {
			ns_fd = open(path, O_RDONLY | O_CLOEXEC);
			if (seteuid(me))
				ns_fd = -1;
		}
	}
	close(ready[0]);
	close(hold[1]);
	waitpid(pid, NULL, 0);
	if (ns_fd >= 0)
		return 0;
	slurm_error(NAME ": %s: %s", edf, msg);
	return -1;
}

int slurm_spank_init(spank_t sp, int ac, char **av)
{
	for (int i = 0; i < ac; i++) {
		if (!strncmp(av[i], "resolver=", 9))
			resolver = av[i] + 9;
		else if (!strncmp(av[i], "base=", 5))
			base = av[i] + 5;
		else if (!strncmp(av[i], "conf=", 5))
			conf = av[i] + 5;
		else if (!strncmp(av[i], "munge=", 6))
			munge = av[i] + 6;
	}
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
	case S_CTX_REMOTE:
		return spank_option_register(sp, &option) == ESPANK_SUCCESS ? 0 : -1;
	default:
		return 0;
	}
}

int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
	(void)sp, (void)ac, (void)av;
	if (!edf)
		return 0;
	if (spank_context() == S_CTX_LOCAL && !getenv(INSIDE))   /* srun: fail early */
		return resolve(environ, 0, 0, 0);
	if (spank_context() == S_CTX_ALLOCATOR)
		slurm_info(NAME ": --environment with sbatch and salloc is experimental; use it with srun");
	return 0;
}

/* In slurmstepd, with the user's effective ids, in the job's working directory. */
int slurm_spank_user_init(spank_t sp, int ac, char **av)
{
	uint32_t step = 0;
	char **env = NULL, **argv = NULL;
	int argc = 0;
	uid_t uid;
	gid_t gid;

	(void)ac, (void)av;
	if (!edf)
		return 0;
	if (spank_get_item(sp, S_JOB_UID, &uid) || spank_get_item(sp, S_JOB_GID, &gid) ||
	    spank_get_item(sp, S_JOB_ENV, &env) || spank_get_item(sp, S_JOB_STEPID, &step) ||
	    spank_get_item(sp, S_JOB_ARGV, &argc, &argv))
		return -1;
	/* A failure here would drain the node when the step is a batch script: leave it to the tasks. */
	if (resolve(env, 1, uid, gid))
		failed = 1;
	else if (*record("image", 0))   /* an EDF without an image only sets variables */
		failed = build_namespace(step == SLURM_BATCH_SCRIPT && argc > 0 ? argv[0] : NULL) != 0;
	return 0;
}

static void set_edf_variables(spank_t sp)
{
	for (int i = 0; record("env", i); i++) {
		char *name = strdup(record("env", i)), *value = strchr(name, '\t');

		*value++ = '\0';
		spank_setenv(sp, name, value, 1);
		free(name);
	}
	for (int i = 0; record("unset", i); i++)
		spank_unsetenv(sp, record("unset", i));
}

/* Adds the image's /etc/environment to the task's variables. */
static void set_image_variables(spank_t sp)
{
	FILE *f = fopen("/etc/environment", "re");
	char line[65536], *eq;

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line != '#' && (eq = strchr(line, '='))) {
			*eq = '\0';
			spank_setenv(sp, line, eq + 1, 1);
		}
	}
	if (f)
		fclose(f);
}

/*
 * The engine starts every container through a login shell that reads /etc/rc, and gives the tasks the
 * variables and the folder which that leaves behind: what /etc/profile sets wins over the image's own.
 */
static int login(spank_t sp)
{
	static char out[1 << 20];
	static const char *const report[] = {
		"-sh", "-l", "/etc/rc", "/bin/sh", "-c", "pwd -P; exec env -0", NULL
	};
	char **env = NULL, *eq;
	int fd[2], status = 0;
	ssize_t n, len = 0;
	uid_t uid;
	gid_t gid;
	pid_t pid;

	if (access("/etc/rc", F_OK)) {
		slurm_error(NAME ": the image has no /etc/rc: the engine cannot start a command in it");
		return -1;
	}
	if (spank_get_item(sp, S_JOB_UID, &uid) || spank_get_item(sp, S_JOB_GID, &gid) ||
	    spank_get_item(sp, S_JOB_ENV, &env) || pipe2(fd, O_CLOEXEC) || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		if (chdir("/") || setgroups(1, &gid) || setgid(gid) || setuid(uid) || dup2(fd[1], 1) < 0)
			_exit(126);
		execve("/bin/sh", (char **)report, env);
		_exit(127);
	}
	close(fd[1]);
	while ((n = read(fd[0], out + len, sizeof(out) - 1 - len)) > 0)
		len += n;
	out[len] = '\0';
	close(fd[0]);
	waitpid(pid, &status, 0);
	if (status || !(eq = strchr(out, '\n'))) {
		slurm_error(NAME ": the image's /etc/rc failed, status %d", status);
		return -1;
	}
	*eq++ = '\0';
	snprintf(image_workdir, sizeof(image_workdir), "%.*s", PATH_MAX - 1, out);
	for (char *var = eq; var < out + len; var += n) {
		n = strlen(var) + 1;
		if ((eq = strchr(var, '=')) && strncmp(var, "_=", 2)) {
			*eq = '\0';
			spank_setenv(sp, var, eq + 1, 1);
		}
	}
	return 0;
}

/* As root in each task, before it becomes the user's. */
int slurm_spank_task_init_privileged(spank_t sp, int ac, char **av)
{
	(void)ac, (void)av;
	if (!edf)
		return 0;
	if (failed)
		return -1;
	if (ns_fd >= 0) {
		/* The engine drops these of the job's; the image or the EDF may set them. */
		static const char *const locale[] = { "LANG", "LANGUAGE", "LC_ALL" };

		for (size_t i = 0; i < sizeof(locale) / sizeof(*locale); i++)
			spank_unsetenv(sp, locale[i]);
		if (setns(ns_fd, CLONE_NEWNS)) {
			slurm_error(NAME ": setns: %m");
			return -1;
		}
		spank_setenv(sp, INSIDE, "1", 1);
		set_image_variables(sp);
		set_edf_variables(sp);
		if (login(sp))
			return -1;
	}
	set_edf_variables(sp);   /* the EDF has the last word */
	return 0;
}

/* As the user, after slurmstepd went to the job's directory (or failed to). */
int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	const char *workdir;

	(void)sp, (void)ac, (void)av;
	if (ns_fd < 0)
		return 0;
	workdir = record("workdir", 0);
	if (!*workdir)
		workdir = image_workdir;
	if (chdir(workdir)) {
		slurm_error(NAME ": workdir %s: %m", workdir);
		return -1;
	}
	return 0;
}

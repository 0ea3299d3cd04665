// Moves the sun and its four largest planets for some days and prints the
// energy of them all before and after, which a good integrator keeps. Its
// argument is the number of steps of 0.01 days, 1000 if absent. Bodies and
// units are those of the n-body program of the Computer Language Benchmarks
// Game: AU, days, and a mass of 4 pi^2 for the sun.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#pragma STDC FP_CONTRACT OFF

#define PI 3.141592653589793
#define SOLAR_MASS (4 * PI * PI)
#define YEAR 365.24

enum { bodies = 5, max_steps = 1000000000 };

struct body {
	double x[3], v[3], mass;
};

// The first is the sun; settle sets its velocity.
static struct body planets[bodies] = {
	{{0, 0, 0}, {0, 0, 0}, SOLAR_MASS},
	{{4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01},
	 {1.66007664274403694e-03 * YEAR, 7.69901118419740425e-03 * YEAR, -6.90460016972063023e-05 * YEAR},
	 9.54791938424326609e-04 * SOLAR_MASS},
	{{8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01},
	 {-2.76742510726411899e-03 * YEAR, 4.99852801234917238e-03 * YEAR, 2.30417297573763929e-05 * YEAR},
	 2.85885980666130812e-04 * SOLAR_MASS},
	{{1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01},
	 {2.96460137564761618e-03 * YEAR, 2.37847173959480950e-03 * YEAR, -2.96589568540237556e-05 * YEAR},
	 4.36624404335156298e-05 * SOLAR_MASS},
	{{1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01},
	 {2.68067772490389322e-03 * YEAR, 1.62824170038242295e-03 * YEAR, -9.51592254519715870e-05 * YEAR},
	 5.15138902046611451e-05 * SOLAR_MASS},
};

// settle makes the momentum of the whole zero.
static void settle(struct body *b) {
	for (int k = 0; k < 3; k++) {
		double p = 0;
		for (int i = 1; i < bodies; i++)
			p += b[i].v[k] * b[i].mass;
		b[0].v[k] = -p / SOLAR_MASS;
	}
}

static double energy(const struct body *b) {
	double e = 0;
	for (int i = 0; i < bodies; i++) {
		e += 0.5 * b[i].mass * (b[i].v[0] * b[i].v[0] + b[i].v[1] * b[i].v[1] + b[i].v[2] * b[i].v[2]);
		for (int j = i + 1; j < bodies; j++) {
			double dx = b[i].x[0] - b[j].x[0], dy = b[i].x[1] - b[j].x[1], dz = b[i].x[2] - b[j].x[2];
			e -= b[i].mass * b[j].mass / sqrt(dx * dx + dy * dy + dz * dz);
		}
	}
	return e;
}

static void advance(struct body *b, double dt) {
	for (int i = 0; i < bodies; i++) {
		for (int j = i + 1; j < bodies; j++) {
			double dx = b[i].x[0] - b[j].x[0], dy = b[i].x[1] - b[j].x[1], dz = b[i].x[2] - b[j].x[2];
			double d2 = dx * dx + dy * dy + dz * dz;
			double pull = dt / (d2 * sqrt(d2));
			double mi = b[i].mass * pull, mj = b[j].mass * pull;
			b[i].v[0] -= dx * mj, b[i].v[1] -= dy * mj, b[i].v[2] -= dz * mj;
			b[j].v[0] += dx * mi, b[j].v[1] += dy * mi, b[j].v[2] += dz * mi;
		}
	}
	for (int i = 0; i < bodies; i++)
		for (int k = 0; k < 3; k++)
			b[i].x[k] += dt * b[i].v[k];
}

int main(int argc, char **argv) {
	long steps = 1000;
	if (argc > 1) {
		char *end;
		steps = strtol(argv[1], &end, 10);
		if (end == argv[1] || *end != 0 || steps < 0 || steps > max_steps) {
			fprintf(stderr, "nbody: the steps are a number from 0 to %d\n", max_steps);
			return 2;
		}
	}
	settle(planets);
	printf("%.9f\n", energy(planets));
	for (long i = 0; i < steps; i++)
		advance(planets, 0.01);
	printf("%.9f\n", energy(planets));
	return fflush(stdout) == 0 ? 0 : 1;
}

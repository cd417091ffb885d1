from programs.rounds import *

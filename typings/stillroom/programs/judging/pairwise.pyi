from programs.judging.pairwise import *

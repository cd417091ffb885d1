from programs.judging.ranking import *

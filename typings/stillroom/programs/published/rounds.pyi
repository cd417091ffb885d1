from programs.published.rounds import *

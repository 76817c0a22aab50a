"""What planted streams are made of: names, values, and the sentences they stand in.

No value is part of another value, of a name or of a sentence, whatever the case of its letters, so a value that is used
once in a stream occurs in it once (a test compares all of them). No sentence has a full stop inside.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Something to know about somebody, in several wordings. `{who}` is the subject, `{value}` what is to be kept."""

    name: str
    kind: str  # people, places, numbers, preferences or schedules
    values: str  # a name in VALUES
    says: tuple[str, ...]  # the fact
    corrects: tuple[str, ...]  # the fact, when it replaces an older one
    asks: tuple[str, ...]  # the question after the last chunk
    asks_now: tuple[str, ...]  # the question right after the chunk
    chatter: tuple[str, ...]  # talk that shares words with the fact and holds no value
    asks_through: tuple[str, ...] = ()  # the final question that names the owner, {who}, instead of the thing


@dataclass(frozen=True, slots=True)
class Link:
    """A person has a thing, and things have facts: two statements that one question needs together."""

    name: str
    kind: str
    values: str  # names of the things
    says: tuple[str, ...]
    asks_now: tuple[str, ...]
    chatter: tuple[str, ...]
    things: tuple[Topic, ...]  # facts whose {who} is the thing


TOPICS: tuple[Topic, ...] = (
    Topic(
        "locker",
        "numbers",
        "code",
        says=(
            "{who}'s locker code is {value}.",
            "The code for {who}'s locker is {value}.",
            "{value} is what opens {who}'s locker.",
        ),
        corrects=("{who}'s locker code has changed to {value}.", "The new code for {who}'s locker is {value}."),
        asks=("What is the code of {who}'s locker?",),
        asks_now=("Which code opens {who}'s locker?",),
        chatter=(
            "{who}'s locker is the one with the dented door.",
            "{who} walked past the lockers this morning.",
            "{who} found an old scarf in the locker.",
            "What {who}'s locker needs is a coat of paint.",
        ),
    ),
    Topic(
        "phone",
        "numbers",
        "code",
        says=(
            "{who}'s phone extension is {value}.",
            "{who} can be called on extension {value}.",
            "Dial {value} to get {who} on the phone.",
        ),
        corrects=("{who}'s phone extension is now {value}.", "{who} has a new extension, {value}."),
        asks=("What is {who}'s phone extension?",),
        asks_now=("On which extension can {who} be called?",),
        chatter=(
            "{who}'s phone rang all through lunch.",
            "{who}'s phone is older than mine.",
            "{who} was on the phone for an hour.",
        ),
    ),
    Topic(
        "badge",
        "numbers",
        "code",
        says=(
            "{who}'s badge number is {value}.",
            "{who} was given badge number {value}.",
            "The badge of {who} has the number {value}.",
        ),
        corrects=("{who} got a new badge, number {value}.", "{who}'s badge number was changed to {value}."),
        asks=("What is the number of {who}'s badge?",),
        asks_now=("Which badge number does {who} have?",),
        chatter=(
            "{who}'s badge is a bit of a joke in the office.",
            "{who} wears the badge upside down.",
            "{who} collected a number of badges as a child.",
        ),
    ),
    Topic(
        "parking",
        "numbers",
        "code",
        says=(
            "{who} parks in bay {value}.",
            "{who}'s parking bay is number {value}.",
            "Bay {value} is kept free for {who}'s car.",
        ),
        corrects=("{who} now parks in bay {value}.", "{who}'s parking bay was moved to {value}."),
        asks=("In which bay does {who} park the car?",),
        asks_now=("What is the number of {who}'s parking bay?",),
        chatter=(
            "{who}'s car does not like the cold.",
            "{who} washed the car in the rain.",
            "Parking makes {who} nervous.",
        ),
    ),
    Topic(
        "dentist",
        "people",
        "surname",
        says=(
            "{who}'s dentist is called {value}.",
            "{who} goes to a dentist named {value}.",
            "{value} has been {who}'s dentist for years.",
        ),
        corrects=("{who} has changed dentists and now sees {value}.", "{who}'s new dentist is {value}."),
        asks=("What is the name of {who}'s dentist?",),
        asks_now=("Which dentist does {who} go to?",),
        chatter=(
            "{who}'s fear of the dentist is no secret.",
            "{who} was late for the dentist once.",
            "The dentist told {who} to floss more.",
        ),
    ),
    Topic(
        "landlord",
        "people",
        "surname",
        says=(
            "{who}'s landlord is {value}.",
            "{who} has a landlord called {value}.",
            "The landlord {who} rents the flat from is {value}.",
        ),
        corrects=("{who}'s new landlord is {value}.", "{value} took over as {who}'s landlord."),
        asks=("Who is {who}'s landlord?",),
        asks_now=("What is the name of {who}'s landlord?",),
        chatter=(
            "{who}'s landlord is repairing the stairs.",
            "{who} would like a flat with a balcony.",
            "The landlord waved at {who} from the window.",
        ),
    ),
    Topic(
        "piano",
        "people",
        "surname",
        says=(
            "{who} takes piano lessons with {value}.",
            "{who}'s piano teacher is {value}.",
            "{value} teaches {who} to play the piano.",
        ),
        corrects=("{who} now takes piano lessons with {value}.", "{who}'s new piano teacher is {value}."),
        asks=("Who is {who}'s piano teacher?",),
        asks_now=("Who gives {who} piano lessons?",),
        chatter=(
            "{who}'s piano is out of tune.",
            "{who} played the piano until midnight.",
            "{who} skipped a piano lesson last spring.",
        ),
    ),
    Topic(
        "home",
        "places",
        "town",
        says=("{who} lives in {value}.", "{who}'s home town is {value}.", "{who} has a small house in {value}."),
        corrects=("{who} has moved house and lives in {value} now.", "{who} now lives in {value}."),
        asks=("Which town does {who} live in?",),
        asks_now=("In which town is {who}'s house?",),
        chatter=(
            "{who} says the town is too quiet.",
            "{who}'s house is full of books.",
            "{who} lives for long walks in the snow.",
        ),
    ),
    Topic(
        "workshop",
        "places",
        "street",
        says=(
            "{who}'s workshop is on {value}.",
            "{who} runs a workshop on {value}.",
            "You will find {who}'s workshop on {value}.",
        ),
        corrects=("{who}'s workshop has moved to {value}.", "{who} now has the workshop on {value}."),
        asks=("Which street is {who}'s workshop on?",),
        asks_now=("Where is {who}'s workshop?",),
        chatter=(
            "{who}'s workshop is always a mess.",
            "{who} swept the workshop on Friday.",
            "The street below {who}'s window is noisy.",
        ),
    ),
    Topic(
        "key",
        "places",
        "hiding place",
        says=(
            "{who}'s spare key is {value}.",
            "{who} keeps the spare key {value}.",
            "There is a spare key for {who}'s door {value}.",
        ),
        corrects=("{who} now keeps the spare key {value}.", "{who}'s spare key has been moved, it is {value}."),
        asks=("Where does {who} keep the spare key?",),
        asks_now=("Where is {who}'s spare key?",),
        chatter=(
            "{who} has no spare time this week.",
            "{who} had a key copied in the market.",
            "{who}'s key is bent from years of use.",
        ),
    ),
    Topic(
        "dish",
        "preferences",
        "dish",
        says=(
            "{who}'s favourite dish is {value}.",
            "{who} likes {value} more than any other dish.",
            "There is no dish {who} likes better than {value}.",
        ),
        corrects=(
            "{who}'s favourite dish is {value} these days.",
            "{who} now likes {value} better than any other dish.",
        ),
        asks=("What is {who}'s favourite dish?",),
        asks_now=("Which dish does {who} like best?",),
        chatter=(
            "{who}'s favourite topic is the weather.",
            "{who} washed every dish in the sink.",
            "{who} dropped a dish at the party.",
        ),
    ),
    Topic(
        "colour",
        "preferences",
        "colour",
        says=(
            "{who}'s favourite colour is {value}.",
            "No colour pleases {who} more than {value}.",
            "Of all colours {who} likes {value} best.",
        ),
        corrects=("{who}'s favourite colour is {value} now.", "{who} has come to like {value} best of all colours."),
        asks=("What is {who}'s favourite colour?",),
        asks_now=("Which colour does {who} like best?",),
        chatter=(
            "{who}'s favourite joke is about colours.",
            "{who} painted the fence in a loud colour.",
            "{who} says that colour photographs age badly.",
        ),
    ),
    Topic(
        "allergy",
        "preferences",
        "food",
        says=(
            "{who} is allergic to {value}.",
            "{who} has been allergic to {value} since childhood.",
            "Never serve {value} to {who}, who is allergic.",
        ),
        corrects=(
            "{who}'s allergy was tested again, and it is {value}.",
            "It turns out that {who} is allergic to {value} instead.",
        ),
        asks=("What is {who} allergic to?",),
        asks_now=("Which food is {who} allergic to?",),
        chatter=(
            "{who} is joking about being allergic to work.",
            "{who} did not eat much at noon.",
            "{who} is to tell us what the allergy test costs.",
        ),
    ),
    Topic(
        "train",
        "schedules",
        "time",
        says=(
            "{who}'s train leaves at {value}.",
            "{who} takes the {value} train.",
            "At {value} {who} has to be on the train.",
        ),
        corrects=("{who}'s train now leaves at {value}.", "{who} takes a different train now, the {value}."),
        asks=("When does {who}'s train leave?",),
        asks_now=("Which train does {who} take?",),
        chatter=(
            "{who}'s train is never on time.",
            "{who} fell asleep on the train.",
            "When {who} was small, trains were a marvel.",
        ),
    ),
    Topic(
        "yoga",
        "schedules",
        "time",
        says=(
            "{who}'s yoga class starts at {value}.",
            "{who} goes to a yoga class at {value}.",
            "The yoga class {who} joined begins at {value}.",
        ),
        corrects=("{who}'s yoga class was moved to {value}.", "{who}'s yoga class now starts at {value}."),
        asks=("What time does {who}'s yoga class start?",),
        asks_now=("When is {who}'s yoga class?",),
        chatter=(
            "{who}'s yoga class does a lot of talking.",
            "{who} left the yoga mat at home.",
            "{who} has no time for sports.",
        ),
    ),
    Topic(
        "exam",
        "schedules",
        "date",
        says=("{who}'s exam is on {value}.", "{who} sits the exam on {value}.", "On {value} {who} has an exam."),
        corrects=("{who}'s exam was moved to {value}.", "The new date of {who}'s exam is {value}."),
        asks=("When is {who}'s exam?",),
        asks_now=("On what date does {who} sit the exam?",),
        chatter=(
            "{who}'s exam is all that anybody talks about.",
            "{who} slept badly before the last exam.",
            "{who} brought dates and figs for everyone.",
        ),
    ),
)

LINKS: tuple[Link, ...] = (
    Link(
        "project",
        "people",
        "project",
        says=("{who} runs the {value} project.", "{who} is in charge of the {value} project."),
        asks_now=("Which project is {who} in charge of?",),
        chatter=("{who} says no project ever ends.", "{who} runs along the river before work."),
        things=(
            Topic(
                "budget",
                "numbers",
                "code",
                says=(
                    "The budget code of the {who} project is {value}.",
                    "The {who} project has the budget code {value}.",
                ),
                corrects=("The budget code of the {who} project is now {value}.",),
                asks=("What is the budget code of the {who} project?",),
                asks_now=("Which budget code does the {who} project have?",),
                chatter=(),
                asks_through=("What is the budget code of the project that {who} runs?",),
            ),
            Topic(
                "deadline",
                "schedules",
                "date",
                says=("The {who} project is due on {value}.", "The {who} project has to be done by {value}."),
                corrects=("The {who} project is now due on {value}.",),
                asks=("When is the {who} project due?",),
                asks_now=("On what date is the {who} project due?",),
                chatter=(),
                asks_through=("When is the project that {who} runs due?",),
            ),
        ),
    ),
    Link(
        "boat",
        "people",
        "boat",
        says=("{who} owns a boat called {value}.", "{who}'s boat is called {value}."),
        asks_now=("What is {who}'s boat called?",),
        chatter=("{who} gets sick on every boat.", "{who}'s boat is in need of paint."),
        things=(
            Topic(
                "mooring",
                "places",
                "town",
                says=("The boat {who} is moored in {value}.", "The {who} is a boat that lies in {value}."),
                corrects=("The boat {who} is now moored in {value}.",),
                asks=("Where is the boat {who} moored?",),
                asks_now=("In which town is the boat {who} moored?",),
                chatter=(),
                asks_through=("Where is the boat that {who} owns moored?",),
            ),
        ),
    ),
    Link(
        "dog",
        "people",
        "dog",
        says=("{who} has a dog called {value}.", "{who}'s dog is called {value}."),
        asks_now=("What is {who}'s dog called?",),
        chatter=("{who}'s dog barked at the postman.", "{who} is not allowed to bring a dog."),
        things=(
            Topic(
                "vet",
                "schedules",
                "time",
                says=("The vet will see the dog {who} at {value}.", "The dog {who} has to be at the vet at {value}."),
                corrects=("The vet will now see the dog {who} at {value}.",),
                asks=("What time will the vet see the dog {who}?",),
                asks_now=("When does the dog {who} go to the vet?",),
                chatter=(),
                asks_through=("What time will the vet see {who}'s dog?",),
            ),
        ),
    ),
)

IDLE: tuple[str, ...] = (
    "{who} said the soup was too salty.",
    "{who} laughed about the old photographs.",
    "{who} thinks it will rain again.",
    "{who} told the story about the geese.",
    "{who} was tired after the long week.",
    "{who} asked who had taken the umbrella.",
    "{who} waved from the other side of the road.",
    "{who} agreed that the film was too long.",
    "{who} hummed the same tune all day.",
    "{who} borrowed a pen and gave it back.",
)
"""Talk about nothing in particular."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


_TOWN_STARTS = _words("Ald, Birk, Cran, Dun, Elm, Fen, Glas, Hart, Ink, Kels, Lam, Mel, Orm, Pen, Quin")
_TOWN_ENDS = _words("mere, combe, wick, stead, haven, ley Green")
_STREET_STARTS = _words(
    """
    Linden, Chestnut, Harbour, Orchard, Chapel, Foundry, Willow, Canal, Abbey, Bishop, Copper, Granary, Juniper,
    Lantern, Meadow, Nightingale, Poplar, Quarry, Saddler, Tannery, Weaver, Windmill
    """
)
_STREET_ENDS = _words("Lane, Road, Alley")
_MONTHS = _words(
    """
    January, February, March, April, May, June, July, August, September, October, November, December
    """
)

PEOPLE = _words(
    """
    Maria, Jonas, Aisha, Pedro, Greta, Omar, Lucia, Henrik, Naomi, Felix, Ingrid, Samir, Clara, Dmitri, Elena, Hugo,
    Yuki, Marta, Boris, Celia, Anton, Priya, Oscar, Hanna, Viktor, Lotte, Rafael, Tessa, Ivan, Noor, Simon, Paula,
    Kofi, Astrid, Bruno, Mina, Tomas, Zara, Emil, Farah, Gustav, Helga, Ismael, Judith, Karim, Liam, Monika, Nils,
    Olga, Petra, Quentin, Rosa, Stefan, Thea, Ulrich, Vera, Walter, Xenia, Yusuf, Zoltan
    """
)

FAMILIES = _words(
    """
    Abbot, Barlow, Crane, Draper, Eklund, Fulton, Gallo, Hobbs, Ivers, Jessop, Kruger, Lomax, Moreau, Nyberg,
    Osgood, Prescott, Ramsey, Sandoval, Tolliver, Underhill, Varga, Whitlock, Yates, Zeller, Archer, Bellamy,
    Corwin, Dalton, Everly, Foley, Gibbs, Harlow, Ingram, Kessler, Lockhart, Mercer, Norwood, Pruitt, Radcliffe,
    Shelby
    """
)
"""Second names, for casts too large to be told apart by the first."""

VALUES: dict[str, tuple[str, ...]] = {
    "code": tuple(str(number) for number in range(1000, 10000)),
    "time": tuple(f"{hour:02d}:{minute:02d}" for hour in range(6, 22) for minute in range(0, 60, 5)),
    "date": tuple(f"{month} {day}" for month in _MONTHS for day in range(10, 29)),
    "town": tuple(start + end for start in _TOWN_STARTS for end in _TOWN_ENDS),
    "street": tuple(f"{start} {end}" for start in _STREET_STARTS for end in _STREET_ENDS),
    "surname": _words(
        """
        Abernathy, Blackwood, Carmichael, Delacroix, Eastman, Ferreira, Goldberg, Hawthorne, Ibrahim, Jankowski,
        Kowalski, Lindqvist, Montgomery, Nakamura, Okonkwo, Petrenko, Quigley, Rosenthal, Sandberg, Takahashi,
        Ulyanov, Villanueva, Winterbourne, Yamamoto, Zimmerman, Achebe, Bergstrom, Castellano, Dubois, Eriksen,
        Fitzgerald, Grimaldi, Hoffmann, Iyengar, Jorgensen, Kaminski, Lefebvre, Mbeki, Novak, Oyelaran, Papadakis,
        Rahman, Schreiber, Tanaka, Vasquez, Wojcik, Bianchi, Cavendish, Dominguez, Esposito
        """
    ),
    "hiding place": _words(
        """
        under the doormat, behind the drainpipe, inside the teapot, under the flowerpot, inside the birdhouse,
        behind the barometer, inside the mailbox, under the wheelbarrow, behind the rain barrel, inside the clarinet
        case, under the garden gnome, behind the bookend, inside the cookie jar, under the beehive, behind the
        sundial, inside the globe, under the woodpile, behind the radiator, inside the vase, under the hammock,
        behind the mirror, inside the cuckoo clock, under the birdbath, behind the tool shed, inside the toolbox,
        under the bench, behind the ivy, inside the hollow oak, under the rug, behind the curtain
        """
    ),
    "dish": _words(
        """
        mushroom risotto, lentil curry, onion tart, fish stew, pumpkin ravioli, beef goulash, pea fritters, potato
        gratin, chicken tagine, spinach lasagne, crab cakes, leek quiche, bean burritos, duck ramen, lamb moussaka,
        cabbage rolls, shrimp paella, tomato bisque, egg noodles, rice pudding, apple strudel, cheese dumplings,
        pork schnitzel, salmon teriyaki, vegetable tempura, barley broth, corn chowder, turkey pie, zucchini
        frittata, plum crumble
        """
    ),
    "colour": _words(
        """
        turquoise, crimson, maroon, lavender, ochre, magenta, indigo, emerald, scarlet, beige, burgundy, violet,
        khaki, charcoal, ivory, mustard, salmon pink, cobalt blue, vermilion, lilac, olive green, amber, sepia,
        fuchsia
        """
    ),
    "food": _words(
        """
        walnuts, shellfish, strawberries, celery, sesame, peanuts, buckwheat, kiwis, lupins, gluten, pineapple,
        oysters, cashews, mangoes, garlic, cinnamon, almonds, papaya, anchovies, aubergines, hazelnuts, raspberries,
        coriander, pistachios, bananas, paprika, avocado, chickpeas, soya, molasses
        """
    ),
    "project": _words(
        """
        Falcon, Heron, Cypress, Basalt, Comet, Meridian, Obsidian, Saffron, Tundra, Zephyr, Kestrel, Lighthouse,
        Monsoon, Nimbus, Pelican, Quasar, Redwood, Sextant, Topaz, Umbra, Vortex, Wombat, Axiom, Beacon, Cascade,
        Dynamo, Elixir, Fathom, Glacier, Horizon, Isotope, Jigsaw, Krypton, Lattice, Mosaic
        """
    ),
    "boat": _words(
        """
        Albatross, Bonaventure, Calypso, Dauntless, Endeavour, Fortuna, Gannet, Halcyon, Icarus, Jubilee, Kittiwake,
        Leviathan, Mermaid, Nereid, Odyssey, Petrel, Quicksilver, Rambler, Seabird, Trident, Undine, Valkyrie,
        Wanderer, Yellowfin, Zanzibar, Argonaut, Brigantia, Corsair, Dolphin, Evangeline
        """
    ),
    "dog": _words(
        """
        Biscuit, Pickles, Rufus, Waffles, Bandit, Nacho, Pepper, Rocket, Truffle, Ziggy, Barnaby, Cocoa, Domino,
        Fergus, Gizmo, Hamlet, Jasper, Kipper, Marlow, Nutmeg, Oreo, Paddy, Radar, Scamp, Tinker, Winston, Banjo,
        Chester, Dexter, Pogo
        """
    ),
}
